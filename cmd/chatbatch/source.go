package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"time"

	"chatbatch/io/roster"
	"chatbatch/jobs"
)

// A source is an input file that can be read twice: once to know whether this
// command has been begun before, and once to plan.
type source struct {
	name  string
	file  *os.File
	temp  bool        // file is a copy of ours
	meter *jobs.Meter // of the calls of the run, those of list included
	since time.Time   // when list began; zero: it did not
	of    string      // the run whose failed rows these are

	written             roster.Format // as we wrote it; "": by its name
	encoding, delimiter string        // of what we wrote
	// list writes the source, for one that must be asked for; it does so when
	// it is known that it is needed.
	list func(context.Context, io.Writer) error
	dir  string // for what list writes

	prog *progress // is told how much is read; nil: nobody is

	sha256 string // of its bytes, once identify has returned
	seed   maphash.Seed
	sum    uint64 // of the same bytes: SHA-256 is slow to take twice
}

// openSource opens the input called name. stdin and pipes are first copied to a
// file without a name in dir.
func openSource(ctx context.Context, name string, stdin io.Reader, dir string) (*source, error) {
	s := &source{name: name, meter: &jobs.Meter{}}
	var err error
	if name == "-" {
		s.name, s.temp = "stdin", true
		s.file, err = spool(ctx, stdin, dir)
	} else {
		s.file, s.temp, err = openFile(ctx, name, dir)
	}
	if err == nil {
		return s, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if k, ok := errors.AsType[*copyError](err); ok {
		return nil, ofPlace("keep a copy of %s in the directory of the runs (--runs-dir names another one): %w", s.name, k.err)
	}
	return nil, &codedError{exitInput, fmt.Errorf("read %s: %w", s.name, err)}
}

// A copyError says that an input cannot be copied; it is not the input's fault.
type copyError struct{ err error }

func (e *copyError) Error() string { return e.err.Error() }

func (e *copyError) Unwrap() error { return e.err }

// copyFile is what an input is copied to.
type copyFile struct{ f *os.File }

func (c copyFile) Write(p []byte) (int, error) {
	n, err := c.f.Write(p)
	if err != nil {
		err = &copyError{err}
	}
	return n, err
}

// identify reads the source through to know it again.
func (s *source) identify(ctx context.Context) error {
	if s.sha256 != "" {
		return nil
	}
	var quick maphash.Hash
	strong := sha256.New()
	if _, err := io.Copy(io.MultiWriter(strong, &quick), s.reader(ctx)); err != nil {
		return fmt.Errorf("read %s: %w", s.name, err)
	}
	s.sha256, s.seed, s.sum = hex.EncodeToString(strong.Sum(nil)), quick.Seed(), quick.Sum64()
	return nil
}

// openAwaited opens a file of which the opening may last for ever, like that of a
// FIFO that nobody writes to, and gives up when its context ends.
func openAwaited(ctx context.Context, name string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		f, err := os.Open(name)
		done <- result{f, err}
	}()
	select {
	case r := <-done:
		return r.f, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func openFile(ctx context.Context, name, dir string) (f *os.File, temp bool, err error) {
	if f, err = openAwaited(ctx, name); err != nil {
		return nil, false, err
	}
	info, err := f.Stat()
	switch {
	case err == nil && info.Mode().IsRegular():
		return f, false, nil
	case err == nil && info.IsDir():
		err = errors.New("it is a directory")
	case err == nil:
		var copied *os.File
		copied, err = spool(ctx, f, dir)
		f.Close()
		return copied, true, err
	}
	f.Close()
	return nil, false, err
}

// spool copies what can be read only once.
func spool(ctx context.Context, r io.Reader, dir string) (*os.File, error) {
	f, err := scratch(dir)
	if err != nil {
		return nil, &copyError{err}
	}
	if _, err = io.Copy(copyFile{f}, &awaited{ctx: ctx, r: r}); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// scratch makes a file that is gone with the process; where that is not
// possible, close removes it.
func scratch(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".input-*")
	if err == nil {
		_ = os.Remove(f.Name())
	}
	return f, err
}

func (s *source) close() {
	if s.file == nil {
		return
	}
	s.file.Close()
	if s.temp {
		_ = os.Remove(s.file.Name())
	}
}

// fromStart returns a reader of the source. If it has been identified, the reader
// fails at its end when the bytes are others than before.
func (s *source) fromStart(ctx context.Context) (io.Reader, error) {
	if s.list != nil {
		return s.listed(ctx)
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	if s.sha256 == "" {
		return s.reader(ctx), nil
	}
	c := &checked{r: s.reader(ctx), source: s}
	c.sum.SetSeed(s.seed)
	return c, nil
}

// listed returns a reader of a source that must be asked for.
func (s *source) listed(ctx context.Context) (io.Reader, error) {
	f, err := scratch(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	s.file, s.temp, s.since = f, true, time.Now()
	b := bufio.NewWriter(f)
	if err := errors.Join(s.list(ctx, b), b.Flush()); err != nil {
		return nil, err
	}
	s.prog.enter(plans)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	return s.reader(ctx), nil
}

// format is the format of the input: by its name, or by its first byte where
// the name says nothing.
func (s *source) format() (roster.Format, error) {
	if s.written != "" {
		return s.written, nil
	}
	if s.name != "stdin" {
		return roster.FormatOf(s.name), nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read %s: %w", s.name, err)
	}
	f, err := roster.FormatIn(s.file)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", s.name, err)
	}
	return f, nil
}

// A checked reader compares what it reads with what was read before.
type checked struct {
	r      io.Reader
	source *source
	sum    maphash.Hash
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF && c.sum.Sum64() != c.source.sum {
		return n, &codedError{exitInput, fmt.Errorf("%s changed while it was read; try again when it is complete", c.source.name)}
	}
	return n, err
}

// A reader stops when its context does. That an input cannot be read is an error of
// the input, wherever it shows.
type reader struct {
	ctx context.Context
	r   io.Reader
}

// reader reads the file from where it is.
func (s *source) reader(ctx context.Context) io.Reader {
	return s.prog.count(reader{ctx, s.file})
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = &codedError{exitInput, err}
	}
	return n, err
}

// An awaited reader reads what may let it wait for ever, like a terminal, and
// gives up when its context ends. The read that it gave up ends with the
// process: nothing else ends it.
type awaited struct {
	ctx context.Context
	r   io.Reader
	buf [32 << 10]byte
}

func (a *awaited) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := a.r.Read(a.buf[:min(len(p), len(a.buf))])
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return copy(p, a.buf[:r.n]), r.err
	case <-a.ctx.Done():
		return 0, context.Cause(a.ctx)
	}
}
