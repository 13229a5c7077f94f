package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// List says how each run stands, the newest last. A run that cannot be read is
// listed with its error.
func (s Store) List(ctx context.Context) ([]Info, error) {
	dirs, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var list []Info
	for _, d := range dirs { // in order of their names, and so of time
		if !d.IsDir() || !plainName.MatchString(d.Name()) || s.unnamed(d.Name()) || s.isLodging(d.Name()) {
			continue
		}
		list = append(list, s.info(ctx, d.Name()))
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
	}
	return list, nil
}

func (s Store) info(ctx context.Context, run string) Info {
	i := Info{Run: run, Meta: Meta{Run: run}}
	l, err := s.OpenRead(ctx, run)
	if err != nil {
		i.Err = err
		return i
	}
	defer l.Close()
	i.Meta, i.Reported = l.Meta(), l.told
	v, err := l.disk.look(ctx)
	if err == nil {
		defer v.close()
		var s sums
		s, err = v.sums(ctx)
		i.enter(s)
	}
	i.Err = l.fail("read the books", err)
	return i
}

// enter fills in how the run stands.
func (i *Info) enter(s sums) {
	i.State = s.state
	i.Books = Books{s.rows, s.succeeded, s.failed, s.rows - s.succeeded - s.failed}
	if started := moment(s.started); started != nil {
		i.Started = *started
	}
	if seen := moment(s.seen); seen != nil && s.state != Running {
		i.Finished = *seen
	}
}

// Waits says that the run has begun and can be gone on with.
func (i Info) Waits() bool {
	return i.Err == nil && i.State != Planning && i.State != Cancelled && !(i.State == Finished && i.Reported)
}

// Find returns the run that goes on when the command of this key is given again,
// or "" if a new one must begin: the newest run of the key, if it is planned and
// not finished, or finished without its reports. (A run that was left behind
// when a later one of the same key finished is history: to go on with it would
// undo what came after it.)
//
// A run of the key that cannot be read is an error, unless there is a newer one:
// nobody knows what it has sent.
//
// The caller holds the lock of the key, and has listed the runs since: many keys need
// one list. Runs of the key whose planning never ended are removed: nobody can be
// planning them any more.
func (s Store) Find(ctx context.Context, list []Info, key string) (string, error) {
	return find(ctx, list, key, func(run string) string { return s.keyOf(ctx, run) }, s.Remove)
}

// find is Find for any store: keyOf says the key of a run that cannot be read.
func find(ctx context.Context, list []Info, key string, keyOf func(run string) string, remove func(context.Context, string) error) (string, error) {
	for n := len(list) - 1; n >= 0; n-- {
		switch i := list[n]; {
		case i.Err != nil && keyOf(i.Run) == key:
			return "", fmt.Errorf("run %s of this command cannot be read, and may have sent a part of it (--fresh begins a new run all the same): %w", i.Run, i.Err)
		case i.Err != nil || i.Meta.Key() != key:
		case i.State == Planning:
			if err := remove(ctx, i.Run); err != nil {
				return "", err
			}
		case i.State == Finished && i.Reported, i.State == Cancelled:
			return "", nil
		default:
			return i.Run, nil
		}
	}
	return "", nil
}

// keyOf is the key of a run that cannot be read, or "" if nothing says it.
func (s Store) keyOf(ctx context.Context, run string) string {
	f := &file{path: filepath.Join(s.Path(run), fileName)}
	if key := readKey(f.path); keyForm.MatchString(key) {
		return key
	}
	if checkFile(f.path) != nil || f.openReaders() != nil {
		return ""
	}
	defer f.abandon()
	l, err := f.load(ctx)
	if err != nil {
		return ""
	}
	return l.meta.Key()
}
