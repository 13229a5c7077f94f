//go:build unix

package limiter

import (
	"syscall"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

// migrated starts a PostgreSQL that has the table.
func migrated(tb testing.TB) *pgtest.Server {
	tb.Helper()
	db := pgtest.Start(tb)
	if _, err := Migrate(tb.Context(), db.URL()); err != nil {
		tb.Fatal(err)
	}
	return db
}

func measureHosts(b *testing.B, t *tables) {
	db := migrated(b)
	for _, s := range []setup{{1, 1, db.URL()}, {2, 1, db.URL()}, {4, 1, db.URL()}, {8, 1, db.URL()}, {2, 2, db.URL()}} {
		measureLoad(b, t, s)
	}
}

// hostFaults are those that only hosts have.
func hostFaults() []fault {
	return append(faults(),
		fault{name: "stopped-8s", do: func(x *scene) { // longer than its lease
			x.stop(8 * time.Second)
			x.backAt, x.fairAt = x.hit, x.healed
		}},
		fault{name: "database-away-30s", do: func(x *scene) {
			x.during(30*time.Second, func() { x.db.Stop(x) }, func() { x.db.Restart(x) })
			x.lost, x.backAt, x.fairAt = true, x.healed, x.healed
		}},
		fault{name: "database-frozen-10s", do: func(x *scene) {
			x.during(10*time.Second, func() { x.db.Freeze(x) }, func() { x.db.Thaw(x) })
			x.lost, x.backAt, x.fairAt = true, x.healed, x.healed
		}},
		fault{name: "cut-off-20s", proxied: true, do: func(x *scene) {
			x.during(20*time.Second, func() { x.proxy.Cut() }, func() { x.proxy.Heal() })
			x.backAt, x.fairAt = x.hit, x.healed
		}},
		fault{name: "hangs-20s", proxied: true, do: func(x *scene) {
			x.during(20*time.Second, func() { x.proxy.Hang() }, func() { x.proxy.Heal() })
			x.backAt, x.fairAt = x.hit, x.healed
		}},
		fault{name: "all-stopped-8s", do: func(x *scene) {
			x.during(8*time.Second, func() { x.signal(syscall.SIGSTOP) }, func() { x.signal(syscall.SIGCONT) })
			x.lost, x.backAt, x.fairAt = true, x.healed, x.healed
		}},
	)
}

// signal is for all senders.
func (x *scene) signal(s syscall.Signal) {
	for _, m := range x.senders {
		m.process.signal(x, s)
	}
}

func measureHostFaults(b *testing.B, t *tables) {
	db := migrated(b)
	for _, ft := range hostFaults() {
		b.Run(ft.name, func(b *testing.B) {
			for range b.N {
				x := newHostScene(b, db, 4, ft.proxied, sender{Key: b.Name(), QPS: measuredQPS, Workers: 16})
				x.tail = 14 * time.Second
				measureFault(b, t, x, ft)
			}
		})
	}
}

// newHostScene is a rig with n hosts, of which the first may reach the database by
// a proxy.
func newHostScene(tb testing.TB, db *pgtest.Server, n int, proxied bool, like sender) *scene {
	x := &scene{rig: newRig(tb, route{}), who: setup{n, 1, db.URL()}, db: db, parts: n, like: like}
	x.like.Database = db.URL()
	for i := range n {
		s := x.like
		s.Dir = tb.TempDir()
		if i == 0 && proxied {
			x.proxy = pgtest.NewProxy(tb, db.Addr())
			s.Database = x.proxy.URL(db.URL())
		}
		x.join(s)
	}
	return x
}
