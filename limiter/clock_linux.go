package limiter

import (
	"hash/fnv"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// hostClock is the time since the host was started, and goes on while the host is
// suspended, since the server's clock goes on, too. All processes of the host
// read the same, and setting the wall clock changes nothing.
func hostClock() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err
}

// hostBoot tells one start of this host from another, and from any other host, if
// it can be known.
func hostBoot() uint64 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 1
	}
	h := fnv.New64a()
	h.Write(id)
	return h.Sum64()
}
