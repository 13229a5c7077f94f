package limiter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// A Lookout looks again and again at what all hosts that share lanes by a database do, by
// one connection. Close it. It is not safe for concurrent use.
type Lookout struct{ r *pgRegistry }

// NewLookout reads a connection string. It does not connect: each look does, if need be.
func NewLookout(url string) (*Lookout, error) {
	r, err := openPGRegistry(url)
	if err != nil {
		return nil, err
	}
	return &Lookout{r}, nil
}

// Look is [InspectFleet].
func (o *Lookout) Look(ctx context.Context) ([]FleetBudget, error) {
	records, err := o.r.loadAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspect the fleet: %w", err)
	}
	var fleet []FleetBudget
	for key, rec := range records {
		fleet = append(fleet, fleetBudget(key, rec))
	}
	slices.SortFunc(fleet, func(a, b FleetBudget) int { return cmp.Compare(a.Key, b.Key) })
	return fleet, nil
}

// Close ends the connection.
func (o *Lookout) Close() error { return o.r.close() }
