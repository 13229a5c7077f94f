package limiter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatbatch/io/postgres"
)

// ErrUnreachable is wrapped by errors that say that the database cannot be reached or
// cannot serve now: it may work later, with nothing changed. A wrong password or a
// missing table is something else.
var ErrUnreachable = postgres.ErrUnreachable

// ErrNotMigrated is wrapped by errors that say that the database has no table of
// lanes, or one of an older program. [Migrate] makes or upgrades it.
var ErrNotMigrated = errors.New("the database is not ready for lanes: run chatbatch migrate")

// use is what lanes take of a database.
var use = postgres.Use{
	Table: "chatbatch_lanes", NotReady: ErrNotMigrated,
	Rights: "to use lanes: CONNECT to the database, USAGE of the schema, SELECT, INSERT and UPDATE on chatbatch_lanes",
}

// Migrate makes the one table that [Postgres] needs, or brings one of an older program
// up to date; changed is false if there was nothing to do. It may be repeated and run
// side by side. url is a connection string of PostgreSQL, see [Lease].
//
// The table is chatbatch_lanes, in the schema where the connection makes its tables.
// That needs the right CREATE on the schema. Who shares the lanes needs the rights
// SELECT, INSERT and UPDATE on the table, and none else.
//
// An error wraps [ErrUnreachable] if the database cannot be reached. A table of a
// newer program, or one by that name that is not ours, is an error and is left alone.
func Migrate(ctx context.Context, url string) (changed bool, err error) {
	r, err := openPGRegistry(url)
	if err != nil {
		return false, err
	}
	defer r.close()
	if changed, err = r.migrate(ctx); err != nil {
		return false, fmt.Errorf("migrate: %w", err)
	}
	return changed, nil
}

// FleetBudget is a budget that hosts share by a database.
type FleetBudget struct {
	Key   string
	Lanes int         // calls allowed inside one second
	Free  int         // lanes that are no host's
	Hosts []FleetHost // by name
}

// FleetHost is a host with a lease of lanes.
type FleetHost struct {
	ID, Name        string
	Lanes           int           // leased to it
	Wants           int           // lanes that it has use for
	CallsLastSecond int           // when it last renewed, as the following
	Waiting         int           // calls that wait for a lane
	OutOfUse        int           // lanes that SlowDown took away
	LeaseEnds       time.Duration // from now, on the database's clock; negative: it has ended
}

// InspectFleet reads what all hosts that share lanes by the database do, budgets in
// the order of their keys. It changes nothing, and needs no more than SELECT on the
// table. A host that has died is listed until another takes its lanes.
//
// Errors wrap [ErrUnreachable] and [ErrNotMigrated] as those of [Postgres] do.
func InspectFleet(ctx context.Context, url string) ([]FleetBudget, error) {
	o, err := NewLookout(url)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return o.Look(ctx)
}

func fleetBudget(key string, rec record) FleetBudget {
	b := FleetBudget{Key: key, Lanes: rec.roll.Lanes, Free: rec.roll.Lanes}
	for id, h := range rec.roll.Hosts {
		n := h.Lanes.count()
		b.Free -= n
		b.Hosts = append(b.Hosts, FleetHost{
			ID: id, Name: h.Name, Lanes: n, Wants: h.Wants, CallsLastSecond: h.Calls,
			Waiting: h.Waiting, OutOfUse: h.OutOfUse,
			LeaseEnds: time.Duration(h.Until-rec.now.UnixMicro()) * time.Microsecond,
		})
	}
	b.Free = max(0, b.Free) // a host with a greater budget may just have left
	slices.SortFunc(b.Hosts, func(a, b FleetHost) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return b
}
