//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// A disk is a small file system of its own, which can be filled up.
type disk struct {
	t   testing.TB
	dir string

	mu sync.Mutex // held while it is filled
}

// newDisk mounts a disk of so many bytes at p.dir/name.
func (p *place) newDisk(name string, size int) *disk {
	p.t.Helper()
	d := &disk{t: p.t, dir: filepath.Join(p.dir, name)}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		p.t.Skipf("a small disk cannot be mounted here (it takes root): %v", err)
	}
	p.t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			p.t.Errorf("unmount %s: %v", d.dir, err)
		}
	})
	return d
}

// resize gives the disk another size.
func (d *disk) resize(size int) {
	d.t.Helper()
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		d.t.Fatal(err)
	}
}

// seal lets nothing be written to the disk any more; open takes it back.
func (d *disk) seal() { d.remount(syscall.MS_RDONLY) }
func (d *disk) open() { d.remount(0) }

func (d *disk) remount(flags uintptr) {
	d.t.Helper()
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
		d.t.Fatal(err)
	}
}

// signalAt begins c and sends it a signal when call n of a command comes.
func (p *place) signalAt(c *process, command string, n int64, signal syscall.Signal) *process {
	p.t.Helper()
	begun := make(chan struct{})
	p.at(command, n, func() error {
		<-begun
		return c.Process.Signal(signal)
	})
	c.begin()
	close(begun)
	return c
}

// ballast is what fills a disk.
func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill fills the disk but for so many bytes.
func (d *disk) fill(left int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		if !errors.Is(err, syscall.ENOSPC) {
			d.t.Error(err)
		}
		return
	}
	defer f.Close()
	var page [4096]byte
	size := int64(0)
	for ; err == nil; size += int64(len(page)) {
		_, err = f.Write(page[:])
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Error(err)
	}
	if info, err := f.Stat(); err == nil && left > 0 {
		err = f.Truncate(max(0, info.Size()-left))
		if err != nil {
			d.t.Error(err)
		}
	}
}

// clear makes room again.
func (d *disk) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.Remove(d.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Error(err)
	}
}
