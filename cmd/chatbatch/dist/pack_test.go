package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The same files give the same bytes, in whatever order and at whatever time they came.
func TestPackIsReproducible(t *testing.T) {
	dir := t.TempDir()
	when := time.Date(2026, 11, 28, 7, 26, 55, 0, time.UTC)
	for _, tt := range []struct {
		name string
		into packer
		read func(*testing.T, []byte) []string
	}{{"tar", tarred, untar}, {"zip", zipped, unzip}} {
		t.Run(tt.name, func(t *testing.T) {
			var made [][]byte
			for i, order := range [][]int{{0, 1, 2}, {2, 0, 1}} {
				from := filepath.Join(dir, fmt.Sprintf("%s-%d", tt.name, i))
				if err := os.WriteFile(from, []byte("program"), 0o600+os.FileMode(i)*0o100); err != nil {
					t.Fatal(err)
				}
				all := []file{{name: "chatbatch", from: from, mode: 0o755}, {name: "man/man1/chatbatch.1", text: []byte("page"), mode: 0o644}, {name: "README.md", text: []byte("read me"), mode: 0o644}}
				var in []file
				for _, k := range order {
					in = append(in, all[k])
				}
				out := filepath.Join(dir, tt.name+".out")
				if err := pack(out, "chatbatch_v1", in, when, tt.into); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				made = append(made, text)
			}
			if !bytes.Equal(made[0], made[1]) {
				t.Error("got other bytes the second time")
			}
			want := []string{
				"chatbatch_v1/README.md -rw-r--r-- 2026-11-28T07:26:55Z read me",
				"chatbatch_v1/chatbatch -rwxr-xr-x 2026-11-28T07:26:55Z program",
				"chatbatch_v1/man/man1/chatbatch.1 -rw-r--r-- 2026-11-28T07:26:55Z page",
			}
			if d := cmp.Diff(want, tt.read(t, made[0])); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func untar(t *testing.T, text []byte) (all []string) {
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, described(t, h.Name, h.FileInfo(), in))
	}
}

func unzip(t *testing.T, text []byte) (all []string) {
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, described(t, f.Name, f.FileInfo(), r))
	}
	return all
}

func described(t *testing.T, name string, info os.FileInfo, in io.Reader) string {
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %v %s %s", name, info.Mode(), info.ModTime().UTC().Format(time.RFC3339), text)
}

// A pattern that names nothing is a file that was forgotten.
func TestRead(t *testing.T) {
	if _, err := read(filepath.Join(t.TempDir(), "*.1"), "man"); err == nil {
		t.Error("nothing was read, and nothing said")
	}
	all, err := read("p*.go", "src")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(f file) bool { return f.name == "src/pack.go" && f.from == "pack.go" }) {
		t.Errorf("got %v", all)
	}
}
