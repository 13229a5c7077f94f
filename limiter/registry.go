package limiter

import (
	"context"
	"time"
)

// A registry keeps the roll of each budget for all hosts, and has the one clock
// that they share. Each method is one round trip. It does not forget: what it
// has accepted is durable. For one caller at a time.
type registry interface {
	// beat says in one statement that a host lives: its lease in the roll ends
	// leaseInTable after the registry's clock, and p replaces what it said
	// before. known is false, and nothing is changed, if the roll does not
	// have the host.
	beat(ctx context.Context, budget, host string, p pulse) (r record, known bool, err error)

	// load reads the roll. Its revision is 0 if there is none.
	load(ctx context.Context, budget string) (record, error)

	// store replaces the roll if it still has revision rev; ok says whether it
	// had. rev 0 makes a new one.
	store(ctx context.Context, budget string, rev int64, next roll) (ok bool, err error)

	close() error
}

// A record is a roll as the registry has it.
type record struct {
	rev    int64
	roll   roll
	now    time.Time // on the registry's clock
	server string    // tells a registry from itself before it was started, or from its replica
}
