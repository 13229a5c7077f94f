package limiter

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// HostBudget is what the processes of a host do with one budget.
type HostBudget struct {
	Key       string        `json:"key"` // see [Options]; a hash of it if it is very long
	Leased    bool          `json:"leased"`
	Lanes     int           `json:"lanes"`      // of the largest of the processes
	Usable    int           `json:"usable"`     // by this host now: all, unless they are leased
	Held      int           `json:"held"`       // with a call under way
	Resting   int           `json:"resting"`    // whose call was less than a second ago
	OutOfUse  int           `json:"out_of_use"` // after frequency codes
	LeaseEnds time.Duration `json:"lease_ends"` // from now; 0 if it has ended, or nothing is leased
	Processes []Process     `json:"processes"`
}

// Process is one that shares a budget.
type Process struct {
	PID             int           `json:"pid"`
	Name            string        `json:"name"` // see [Options]
	Held            int           `json:"held"` // lanes with a call under way
	CallsLastSecond int           `json:"calls_last_second"`
	Waiting         int           `json:"waiting"` // calls that wait for a lane
	Age             time.Duration `json:"age"`     // since it last said so

	id uint32
}

// InspectHost reads what the processes of this host do with the budgets that are
// kept in dir. It changes nothing and waits for nobody. A directory that is
// not there has no budgets.
func InspectHost(dir string) ([]HostBudget, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the directory of the lanes: %w", err)
	}
	var all []HostBudget
	for _, e := range entries {
		name, isLanes := strings.CutSuffix(e.Name(), lanesSuffix)
		if !isLanes {
			continue
		}
		b, err := inspect(filepath.Join(dir, name))
		if err != nil {
			return all, err
		}
		b.Key = strings.TrimPrefix(name, "budget-")
		if key, err := url.QueryUnescape(b.Key); err == nil {
			b.Key = key
		}
		all = append(all, b)
	}
	return all, nil
}

// inspect reads one budget without its lock: a record that is being written fails
// its checksum and counts as a lane at rest.
func inspect(path string) (HostBudget, error) {
	var b HostBudget
	text, err := os.ReadFile(path + lanesSuffix)
	if err != nil {
		return b, fmt.Errorf("read lanes: %w", err)
	}
	now, err := hostClock()
	if err != nil {
		return b, fmt.Errorf("read the host's clock: %w", err)
	}
	t := &Table{now: now, lanes: make([]lane, max(0, len(text)-lanesAt)/laneSize)}
	text = append(text, make([]byte, max(0, lanesAt-len(text)))...)
	if b.Lanes, err = decode(text, nil, t); err != nil {
		return b, fmt.Errorf("read %s: %w", path+lanesSuffix, err)
	}
	t.lanes = t.lanes[:min(b.Lanes, len(t.lanes))]
	b.Leased, b.Usable = t.lease.leased, t.size()
	b.OutOfUse = t.out(0, b.Usable)
	b.LeaseEnds = max(0, t.lease.until-now)
	m := members{dir: path + membersSuffix}
	b.Processes = slices.DeleteFunc(m.states(now), func(p Process) bool { return m.isDead(p.id) })
	b.count(t)
	return b, nil
}

func (b *HostBudget) count(t *Table) {
	for _, l := range t.lanes {
		switch {
		case l.holder != 0:
			b.Held++
			for i := range b.Processes {
				if b.Processes[i].id == l.holder {
					b.Processes[i].Held++
				}
			}
		case l.lost || l.ready > t.now:
			b.Resting++
		}
	}
}
