//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package limiter

import (
	"time"

	"golang.org/x/sys/unix"
)

// hostClock is the host's monotonic clock: all processes of the host read the
// same, and setting the wall clock changes nothing.
func hostClock() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano()), err
}

// hostBoot would tell one start of this host from another. Without it, a lease of
// before is taken for one of now only if the host was up for as long then.
func hostBoot() uint64 { return 1 }
