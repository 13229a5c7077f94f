//go:build linux

package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A failingDisk takes writes and fails when they are synced: a file system whose own disk
// is full.
type failingDisk struct {
	p      *place
	below  *disk
	device string
	dir    string
}

// newFailingDisk mounts an ext4 file system at p.dir/name. It lies on a disk of so many
// bytes, and takes itself for a larger one.
func (p *place) newFailingDisk(name string, size int) *failingDisk {
	p.t.Helper()
	d := &failingDisk{p: p, below: p.newDisk(name+"-below", size), dir: filepath.Join(p.dir, name)}
	image := filepath.Join(d.below.dir, "image")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(64 << 20)
		f.Close()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	d.must("mkfs.ext4", "-q", "-b", "1024", "-J", "size=1", image)
	d.device = strings.TrimSpace(d.must("losetup", "-f", "--show", image))
	p.t.Cleanup(func() { _ = exec.Command("losetup", "-d", d.device).Run() })
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	d.must("mount", d.device, d.dir)
	p.t.Cleanup(func() { _ = exec.Command("umount", d.dir).Run() })
	return d
}

// must runs a program of the system. Where that cannot be done the test is left out.
func (d *failingDisk) must(name string, args ...string) string {
	d.p.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.p.t.Skipf("a disk that fails cannot be arranged here: %s: %v: %s", name, err, out)
	}
	return string(out)
}

// repair makes room below, and does what a user does after such a failure.
func (d *failingDisk) repair() {
	d.p.t.Helper()
	d.below.clear()
	d.must("umount", d.dir)
	_ = exec.Command("e2fsck", "-fy", d.device).Run() // its code says what it has mended
	d.must("mount", d.device, d.dir)
}

// TestDiskFailsToSync lets syncs fail while marks are sent. What has been counted then is on
// disk: after a repair the same command sends the rest.
func TestDiskFailsToSync(t *testing.T) {
	t.Parallel()
	for i := range times(1, 15) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := newPlace(t)
			d := p.newFailingDisk("state", 8<<20)
			rows := p.classRows(10, 60)
			args := []string{"marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "5", "--json", "--quiet"}
			p.fullAt(d.below, "modify_user_info", int64(5+7*i), 0)
			e := p.run(args...)
			p.api.misbehave(nil)
			t.Logf("code %d after %d calls: %s", e.code, p.api.count(), e.stderr)
			if e.code != exitFailed {
				e.want(t, exitStopped, "the same command again")
				d.repair()
				e = p.run(args...)
			}
			e.want(t, exitFailed)
			s := p.summary(e)
			tried.add("a disk that fails when it is synced, then repaired", 1, p.wrong(s.Run, classHeader, rows)+p.wrongMarks(rows))
			if n := len(p.runDirs()); n != 1 {
				t.Errorf("%d runs", n)
			}
		})
	}
}
