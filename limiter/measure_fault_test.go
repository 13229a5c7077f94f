//go:build unix

package limiter

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

// A fault is what happens to a fleet of four under full load, and when.
type fault struct {
	name    string
	do      func(x *scene)
	proxied bool // the first one reaches the database by a proxy
}

// A scene is a rig to which something happens.
type scene struct {
	*rig
	who   setup
	first *member        // to whom it happens, if it happens to one
	like  sender         // who joins is like that
	db    *pgtest.Server // nil without leases
	proxy *pgtest.Proxy  // nil unless proxied

	tail time.Duration // how long it is watched when all is well again

	hit, ending, healed time.Duration // since 1970: it begins, it ends, it has ended

	lost   bool          // everything stops between hit and healed
	backAt time.Duration // since when all of the budget should be used again
	fairAt time.Duration // since when the one should have its share again, 0: not asked
	parts  int           // so many share the budget then
}

// faults are those of one host and of many. In the first six seconds of each
// all find their shares.
func faults() []fault {
	return []fault{
		{name: "stopped-2s", do: func(x *scene) {
			x.stop(2 * time.Second)
			x.backAt, x.fairAt = x.healed, x.healed
		}},
		{name: "killed", do: func(x *scene) {
			x.hit = x.clock.now()
			x.kill(x.first)
			x.backAt = x.hit
			time.Sleep(12 * time.Second)
		}},
		{name: "joins", do: func(x *scene) {
			x.hit = x.clock.now()
			x.like.Dir = x.TempDir()
			if x.who.database == "" {
				x.like.Dir = x.first.Dir
			}
			x.first = x.join(x.like)
			x.backAt, x.fairAt, x.parts = x.hit, x.hit, 5
			time.Sleep(9 * time.Second)
		}},
		{name: "leaves", do: func(x *scene) {
			x.hit = x.clock.now()
			x.leave(x.first)
			x.backAt = x.hit
			time.Sleep(9 * time.Second)
		}},
	}
}

// stop stops the first one for d.
func (x *scene) stop(d time.Duration) {
	x.during(d, func() { x.first.signal(x, syscall.SIGSTOP) }, func() { x.first.signal(x, syscall.SIGCONT) })
}

// during makes something happen, unmakes it after d and waits a while.
func (x *scene) during(d time.Duration, begin, end func()) {
	x.hit = x.clock.now()
	begin()
	time.Sleep(d)
	x.ending = x.clock.now()
	end()
	x.healed = x.clock.now()
	time.Sleep(x.tail)
}

func measureFaults(b *testing.B, t *tables) {
	for _, ft := range faults() {
		b.Run(ft.name, func(b *testing.B) {
			for range b.N {
				x := &scene{rig: newRig(b, route{}), who: setup{hosts: 1, processes: 4}, parts: 4, tail: 9 * time.Second}
				x.like = sender{Key: b.Name(), QPS: measuredQPS, Workers: 16}
				x.who.join(x.rig, b.Name(), sender{})
				measureFault(b, t, x, ft)
			}
		})
	}
}

// measureFault lets it happen and says what came of it.
func measureFault(b *testing.B, t *tables, x *scene, ft fault) {
	x.first = x.senders[0]
	x.ready()
	time.Sleep(6 * time.Second)
	ft.do(x)
	s := x.end()
	s.most(b, measuredQPS)
	s.log(b, x.names())
	b.Logf("happens at %.1f s", (x.hit - s.arrivals[0].At).Seconds())
	row := []string{ft.name, x.who.String(), fmt.Sprint(s.worst()), fmt.Sprintf("%.1f", 100*s.use(measuredQPS))}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(s.worst()), "max/s")
	b.ReportMetric(100*s.use(measuredQPS), "%use")
	cell := func(d time.Duration, metric string, asked bool) {
		switch {
		case !asked:
			row = append(row, "")
		case d < 0:
			row = append(row, "never")
			b.ReportMetric(-1, metric)
		default:
			row = append(row, fmt.Sprintf("%.2f", d.Seconds()))
			b.ReportMetric(d.Seconds(), metric)
		}
	}
	cell(s.silence(x.hit), "silence-s", true)
	cell(s.after(x.healed), "goes-on-s", x.lost)
	cell(s.back(x.backAt, measuredQPS, 0.90), "back-s", true)
	cell(s.back(x.fairAt, measuredQPS/x.parts, 0.90, x.first.Name), "fair-s", x.fairAt > 0)
	t.add("faults", row)
}
