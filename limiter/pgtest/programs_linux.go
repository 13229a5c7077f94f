package pgtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// programs are those of a PostgreSQL installation, and as whom they run.
type programs struct {
	dir     string
	version string
	as      *syscall.Credential // nil: as who we are
}

// find looks for the programs once.
var find = sync.OnceValues(func() (*programs, error) {
	p := &programs{}
	for _, dir := range candidates() {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			p.dir = dir
			break
		}
	}
	if p.dir == "" {
		return nil, errors.New("initdb and postgres were not found by pg_config, in /usr/lib/postgresql and on the PATH: " +
			"install them (Debian: apt-get install postgresql)")
	}
	if os.Getuid() == 0 {
		as, err := unprivileged()
		if err != nil {
			return nil, err
		}
		p.as = as
	}
	out, err := p.command(filepath.Join(p.dir, "postgres"), "--version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w: %s", filepath.Join(p.dir, "postgres"), err, out)
	}
	p.version = string(out)
	return p, nil
})

// candidates are directories that may have the programs, the best first.
func candidates() (dirs []string) {
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(debian, func(a, b string) int { return major(b) - major(a) })
	dirs = append(dirs, debian...)
	return append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
}

// major is the version in /usr/lib/postgresql/15/bin.
func major(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// unprivileged is somebody who is not root, as whom PostgreSQL does not run.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

// command is one that runs as who may run PostgreSQL, with nothing of our
// environment that could change what it does.
func (p *programs) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "PATH=" + p.dir + ":/usr/local/bin:/usr/bin:/bin"}
	if p.as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	}
	return cmd
}

// tempDir makes a directory for who runs PostgreSQL. Not one of the test's own:
// they are below a directory that only we can enter.
func (p *programs) tempDir() (string, error) {
	base := ""
	if p.as != nil {
		base = "/tmp" // what TMPDIR says may be closed to others, too
	}
	dir, err := os.MkdirTemp(base, "pgtest-")
	if err == nil {
		err = p.own(dir)
	}
	return dir, err
}

// own gives all files in dir to who runs PostgreSQL.
func (p *programs) own(dir string) error {
	if p.as == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(p.as.Uid), int(p.as.Gid))
	})
}

// making lets one test at a time fill the cache.
var making sync.Mutex

// makeCluster makes an empty cluster in dir, from the cache if it can: initdb takes
// 1 to 5 s, a copy 0.1 s.
func (p *programs) makeCluster(dir string) error {
	making.Lock()
	defer making.Unlock()
	cached, err := p.cached()
	if err == nil && p.copyCluster(dir, cached) == nil {
		return nil
	}
	_ = os.RemoveAll(dir)
	out, initErr := p.command(filepath.Join(p.dir, "initdb"), "--pgdata="+dir, "--username=postgres",
		"--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8", "--wal-segsize=1").CombinedOutput()
	if initErr != nil {
		return fmt.Errorf("initdb: %w\n%s", initErr, out)
	}
	if err == nil {
		fillCache(cached, dir)
	}
	return nil
}

// cached is where an empty cluster of this version is kept.
func (p *programs) cached() (string, error) {
	dir, err := os.UserCacheDir()
	sum := sha256.Sum256([]byte(p.dir + p.version))
	return filepath.Join(dir, "chatbatch-pgtest", hex.EncodeToString(sum[:8])), err
}

func (p *programs) copyCluster(to, from string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	if err := os.Chmod(to, 0o700); err != nil { // PostgreSQL insists on it
		return err
	}
	return p.own(to)
}

// fillCache keeps a copy of a cluster. Without one all works, slowly; if
// another test binary was faster, its copy stays.
func fillCache(cached, cluster string) {
	if os.MkdirAll(filepath.Dir(cached), 0o700) != nil {
		return
	}
	aside, err := os.MkdirTemp(filepath.Dir(cached), "new-")
	if err != nil {
		return
	}
	defer os.RemoveAll(aside)
	whole := filepath.Join(aside, "cluster")
	if os.CopyFS(whole, os.DirFS(cluster)) == nil {
		_ = os.Rename(whole, cached)
	}
}
