package jobs

import (
	"sync"
	"time"

	"chatbatch/io/ledger"
)

// A Meter counts what a run does, for its progress and its summary. It is safe
// for concurrent use.
type Meter struct {
	All *Meter // counts the calls of several jobs; nil: there is one

	mu     sync.Mutex
	now    Reading
	recent []time.Time // under mu; calls of the last second, oldest first
}

// A Reading is what a [Meter] shows.
type Reading struct {
	Succeeded, Failed int64 // rows settled by this process
	Fetched           int64 // members that pages of exports brought
	Calls, Retries    int64
	Settled           ledger.Cost // the part of them that belongs to settled chunks
	InOneSecond       int         // calls that left in the last second
	MaxInOneSecond    int         // the most that ever left inside one second
}

// Read returns the counts so far.
func (m *Meter) Read() Reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(time.Now())
	m.now.InOneSecond = len(m.recent)
	return m.now
}

func (m *Meter) call(retry bool) {
	if m.All != nil {
		m.All.call(retry)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.forget(now)
	m.recent = append(m.recent, now)
	m.now.Calls++
	if retry {
		m.now.Retries++
	}
	m.now.MaxInOneSecond = max(m.now.MaxInOneSecond, len(m.recent))
}

// forget drops the calls that left a second ago or earlier.
func (m *Meter) forget(now time.Time) {
	n := 0
	for n < len(m.recent) && now.Sub(m.recent[n]) >= time.Second {
		n++
	}
	m.recent = m.recent[n:]
}

func (m *Meter) fetched(members int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Fetched += int64(members)
}

func (m *Meter) settled(succeeded, failed int64, c ledger.Cost) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Succeeded += succeeded
	m.now.Failed += failed
	m.now.Settled.Calls += c.Calls
	m.now.Settled.Retries += c.Retries
}
