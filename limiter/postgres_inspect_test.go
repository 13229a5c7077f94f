package limiter

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/limiter/pgtest"
)

func TestPostgresInspectFleet(t *testing.T) {
	s := pgtest.Start(t)
	url := pgMigrated(t, s)
	if fleet, err := InspectFleet(pgWithin(t, pgAmple), url); len(fleet) != 0 || err != nil {
		t.Errorf("nobody: %v, %v", fleet, err)
	}
	r := pgOpened(t, url)
	two := pgTwoHosts()
	pgMustStore(t, r, "b", 0, two, true)
	if _, _, err := r.beat(pgWithin(t, pgAmple), "b", "a", pulse{21, 22, 23, 24}); err != nil {
		t.Fatal(err)
	}
	pgMustStore(t, r, "a", 0, roll{Lanes: 10, Hosts: map[string]tenant{"x": {Name: "z", Lanes: pgLanes(0, 20)}, "y": {Name: "z"}}}, true)
	fleet, err := InspectFleet(pgWithin(t, pgAmple), url)
	if err != nil || len(fleet) != 2 {
		t.Fatal(fleet, err)
	}
	first, second := fleet[0], fleet[1]
	if first.Key != "a" || first.Lanes != 10 || first.Free != 0 || first.Hosts[0].ID != "x" || first.Hosts[1].ID != "y" {
		t.Errorf("budget a: %+v", first)
	}
	live, dead := second.Hosts[1], second.Hosts[0]
	if live.LeaseEnds < 0 || live.LeaseEnds > leaseInTable || dead.LeaseEnds > -time.Hour {
		t.Errorf("leases end in %v and %v", live.LeaseEnds, dead.LeaseEnds)
	}
	live.LeaseEnds, dead.LeaseEnds = 0, 0
	want := FleetBudget{Key: "b", Lanes: 200, Free: 50, Hosts: []FleetHost{
		{ID: "b", Name: "b", Lanes: 50, Wants: 5, CallsLastSecond: 6, Waiting: 7, OutOfUse: 8},
		{ID: "a", Name: two.Hosts["a"].Name, Lanes: 100, Wants: 21, CallsLastSecond: 22, Waiting: 23, OutOfUse: 24},
	}}
	second.Hosts = []FleetHost{dead, live}
	if d := cmp.Diff(want, second); d != "" {
		t.Errorf("budget b differs (-want +got):\n%s", d)
	}
	if rec := pgMustLoad(t, r, "b"); rec.rev != 2 {
		t.Errorf("revision %d after a look, want 2", rec.rev)
	}
}
