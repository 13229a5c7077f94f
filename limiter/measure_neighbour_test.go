//go:build unix

package limiter

import (
	"fmt"
	"testing"
	"time"
)

// measureNeighbour runs against a server that refuses what would be more than
// 200 in any second, of which somebody who asks nobody takes half.
func measureNeighbour(b *testing.B, t *tables) {
	for _, even := range []bool{true, false} {
		name := "100 at random times"
		if even {
			name = "100 evenly"
		}
		b.Run(fmt.Sprintf("even-%t", even), func(b *testing.B) {
			for range b.N {
				f := newRig(b, route{Strict: measuredQPS})
				f.join(sender{Name: "neighbour", Free: true, Rate: measuredQPS / 2, Even: even})
				setup{hosts: 1, processes: 1}.join(f, b.Name(), sender{Name: "ours"})
				f.ready()
				time.Sleep(time.Minute)
				s := f.end()
				ours, theirs, refused := s.times("ours"), s.times("neighbour"), s.refused("ours")
				if len(ours) == 0 {
					b.Fatal("no calls of ours were accepted")
				}
				left := measuredQPS*(ours[len(ours)-1]-ours[0]).Seconds() - float64(len(theirs))
				use := 100 * float64(len(ours)) / left
				b.Logf("neighbour: %d accepted, %d refused", len(theirs), s.refused("neighbour"))
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(len(ours)), "calls")
				b.ReportMetric(float64(refused), "refused")
				b.ReportMetric(use, "%use-of-left")
				t.add("neighbour", []string{"1 process", name, fmt.Sprint(len(ours)), fmt.Sprint(refused), fmt.Sprintf("%.1f", use)})
			}
		})
	}
}
