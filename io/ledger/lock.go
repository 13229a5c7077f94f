package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockPoll  = 20 * time.Millisecond // between tries while waiting
	lockTries = 3                     // before a lock counts as held by somebody
)

// Lock takes the lock of a key (see [Key]): who holds it may plan, run or remove
// the runs of that key. It is an flock(2), so it is gone with its process. With
// wait it waits until it is free or ctx ends; without, it is ErrLocked.
//
// The lock file is removed by its holder, while it is locked, so none is left.
// (A process that is killed leaves one; the next holder removes it, or Sweep.)
func (s Store) Lock(ctx context.Context, key string, wait bool) (unlock func(), err error) {
	if !plainName.MatchString(key) {
		return nil, fmt.Errorf("lock: %q is not a key", key)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	path := filepath.Join(s.Dir, key+".lock")
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("lock: %w", context.Cause(ctx))
		}
		f, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if f != nil {
			return sync.OnceFunc(func() { release(f) }), nil
		}
		// One refusal proves nothing: somebody may just be looking at the file
		// of a holder who has gone.
		if !wait && try >= lockTries {
			return nil, fmt.Errorf("%w: %s", ErrLocked, path)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockPoll):
		}
	}
}

// tryLock returns nil if the lock is held by somebody, or the locked file is no
// longer the one that has the name: a holder who has gone removed it.
func tryLock(path string) (*flock.Flock, error) {
	f := flock.New(path, flock.SetPermissions(0o600))
	ok, err := f.TryLock()
	if err != nil || !ok {
		return nil, err
	}
	if ok, err = current(f); ok {
		return f, nil
	}
	_ = f.Close()
	return nil, err
}

// current says whether the file of a lock is the one that has its name now.
func current(f *flock.Flock) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, named), err
}

// release removes the file first and unlocks it then: the other way round, the
// file of the next holder would be removed.
func release(f *flock.Flock) {
	_ = os.Remove(f.Path())
	_ = f.Close()
}
