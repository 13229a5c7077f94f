package aside

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// names lists a directory, without what makes the hidden names unique.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		name, _, hidden := strings.Cut(e.Name(), infix)
		if hidden {
			name += infix
		}
		list = append(list, name)
	}
	return list
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q", filepath.Base(path), got, err, want)
	}
}

func TestAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "members.csv")
	must(t, os.WriteFile(path, []byte("as it was"), 0o644)) // anybody may read it
	old, err := os.Open(path)
	must(t, err)
	defer old.Close()

	f, err := Create(path)
	must(t, err)
	defer f.Discard()
	long := strings.Repeat("a row\n", bufferSize/3)
	_, err = f.WriteString(long)
	must(t, err)
	holds(t, path, "as it was")
	must(t, f.Prepare())
	must(t, f.Prepare())
	holds(t, path, "as it was")
	if diff := cmp.Diff([]string{".members.csv.part-", "members.csv"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	must(t, f.Replace())
	holds(t, path, long)
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", i.Mode(), err)
	}
	if b, err := io.ReadAll(old); err != nil || string(b) != "as it was" {
		t.Errorf("who had the old one open got %q, %v", b, err)
	}
	f.Discard()
	f.Discard()
	holds(t, path, long)
	if diff := cmp.Diff([]string{"members.csv"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestDiscard(t *testing.T) {
	for name, step := range map[string]func(*File) error{
		"written":  func(f *File) error { return f.Flush() },
		"prepared": (*File).Prepare,
	} {
		dir := t.TempDir()
		f, err := Create(filepath.Join(dir, "x"))
		must(t, err)
		_, err = f.WriteString("half")
		must(t, err)
		must(t, step(f))
		f.Discard()
		if list := names(t, dir); len(list) != 0 {
			t.Errorf("%s: left behind: %v", name, list)
		}
		if err := f.Replace(); !errors.Is(err, errDone) {
			t.Errorf("%s: replace after discard: got %v", name, err)
		}
	}
}

func TestWrittenTooLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	f, err := Create(path)
	must(t, err)
	defer f.Discard()
	must(t, f.Prepare())
	fmt.Fprint(f, "more")
	if err := f.Replace(); !errors.Is(err, errDone) {
		t.Errorf("got %v, want errDone", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is there, without what was written last: %v", err)
	}
}

// A failure of the disk leaves the old file, whatever is called after it.
func TestFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(path, []byte("as it was"), 0o600))
	f, err := Create(path)
	must(t, err)
	must(t, f.f.Close()) // as good as a full disk
	fmt.Fprint(f, "new")
	for range 2 {
		if err := f.Replace(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v, want that the file is closed", err)
		}
	}
	f.Discard()
	holds(t, path, "as it was")
}

func TestStaleIsRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".failed.csv.part-1", ".failed.csv.part-mine", ".failed.csv", ".other.csv.part-1"} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Chtimes(path, time.Time{}, time.Now().Add(-2*time.Hour)))
	}
	f, err := Create(filepath.Join(dir, "failed.csv"))
	must(t, err)
	f.Discard()
	if _, err := os.Stat(filepath.Join(dir, ".failed.csv.part-1")); !os.IsNotExist(err) {
		t.Error("the stale one is still there")
	}
	for _, name := range []string{".failed.csv.part-mine", ".failed.csv", ".other.csv.part-1"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s is gone", name)
		}
	}
}

// What a killed process has left is removed by the next one at once, however young it
// is; what one at work has is not, up to the moment at which it has its name.
func TestLeftBehindIsRemoved(t *testing.T) {
	if !renamesOpen {
		t.Skip("files are not locked here: what is left is removed when it is stale")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "failed.csv")
	must(t, os.WriteFile(filepath.Join(dir, ".failed.csv.part-1"), []byte("half"), 0o600))
	var working []*File
	for i := range 2 {
		f, err := Create(path)
		must(t, err)
		fmt.Fprint(f, i)
		must(t, f.Prepare())
		working = append(working, f)
	}
	if diff := cmp.Diff([]string{".failed.csv.part-", ".failed.csv.part-"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	for i, f := range working {
		must(t, f.Replace())
		holds(t, path, fmt.Sprint(i))
	}
	if diff := cmp.Diff([]string{"failed.csv"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// Many who begin at once do not take each other's files away.
func TestCreateSideBySide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "members.csv")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				f, err := Create(path)
				if err == nil {
					err = f.Replace()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]string{"members.csv"}, names(t, filepath.Dir(path))); diff != "" {
		t.Error(diff)
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"群 [1]?.csv", "a*b", strings.Repeat("x", 255), "-", "..."} {
		path := filepath.Join(dir, name)
		f, err := Create(path)
		must(t, err)
		fmt.Fprint(f, name)
		must(t, f.Replace())
		holds(t, path, name)
		must(t, os.Remove(path))
	}
	t.Chdir(dir)
	f, err := Create("here")
	must(t, err)
	must(t, f.Replace())
	holds(t, filepath.Join(dir, "here"), "")
}

func TestLinkIsFollowed(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	target, link := filepath.Join(other, "target"), filepath.Join(dir, "link")
	must(t, os.WriteFile(target, []byte("as it was"), 0o600))
	must(t, os.Symlink(target, link))
	f, err := Create(link)
	must(t, err)
	fmt.Fprint(f, "new")
	must(t, f.Replace())
	holds(t, target, "new")
	if i, err := os.Lstat(link); err != nil || i.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", i.Mode(), err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink(filepath.Join(dir, "none"), filepath.Join(dir, "dangling")))
	must(t, os.Symlink(os.DevNull, filepath.Join(dir, "null")))
	for _, path := range []string{"", ".", "..", dir, dir + "/", dir + "/x/", dir + "/..", os.DevNull, dir + "/dangling", dir + "/null", dir + "/none/x"} {
		f, err := Create(path)
		if err == nil {
			f.Discard()
			t.Errorf("%q: no error", path)
		}
	}
	if _, err := Create(dir + "/none/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}
