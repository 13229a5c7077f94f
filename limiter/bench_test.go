package limiter

import (
	"testing"
	"time"
)

// BenchmarkTakeRelease is the cost of the lanes of one call, without bucket or
// queue: one look that takes a lane, one that gives it back.
func BenchmarkTakeRelease(b *testing.B) {
	for name, open := range map[string]func(string) (Lanes, error){"memory": Memory(), "file": File(b.TempDir())} {
		b.Run(name, func(b *testing.B) {
			lanes, err := open("bench")
			if err != nil {
				b.Fatal(err)
			}
			closed := make(chan struct{})
			bud := newBudget("", 200, time.Nanosecond, lanes, closed)
			defer bud.close()
			if err := bud.update(nil); err != nil { // new lanes rest first
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				h, _, err := bud.look("")
				if err != nil || h.lane < 0 {
					b.Fatalf("got lane %d, %v", h.lane, err)
				}
				bud.done(h, 0, true)
			}
		})
	}
}
