package main

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// A file is one of an archive: its text, or where it is.
type file struct {
	name string // with / between directories
	text []byte
	from string
	mode fs.FileMode
}

// read takes the files that a pattern names; dir is where they are in the archive.
func read(pattern, dir string) ([]file, error) {
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("%s: there is no such file (%w)", pattern, cmp.Or(err, fs.ErrNotExist))
	}
	var all []file
	for _, name := range names {
		all = append(all, file{name: path.Join(dir, filepath.Base(name)), from: name, mode: 0o644})
	}
	return all, nil
}

// A packer writes an archive.
type packer func(out io.Writer, base string, all []file, when time.Time) error

// pack writes files into the archive called name, all under the directory base.
func pack(name, base string, all []file, when time.Time, into packer) error {
	all = slices.Clone(all)
	for i := range all {
		if f := &all[i]; f.from != "" {
			var err error
			if f.text, err = os.ReadFile(f.from); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := into(out, base, all, when); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// tarred writes a tar file compressed by gzip. Nobody owns its files.
func tarred(out io.Writer, base string, all []file, when time.Time) error {
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, f := range all {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(base, f.name), Size: int64(len(f.text)), Mode: int64(f.mode), ModTime: when, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.text); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

// zipped writes a zip file.
func zipped(out io.Writer, base string, all []file, when time.Time) error {
	z := zip.NewWriter(out)
	for _, f := range all {
		h := &zip.FileHeader{Name: path.Join(base, f.name), Method: zip.Deflate, Modified: when}
		h.SetMode(f.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := w.Write(f.text); err != nil {
			return err
		}
	}
	return z.Close()
}
