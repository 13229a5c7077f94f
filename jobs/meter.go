package jobs

import (
	"maps"
	"slices"
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
	silent time.Time       // under mu; when the first call left since the last answer; zero: none did
	recent []time.Time     // under mu; calls of the last second, oldest first
	pace   []ledger.Second // under mu; since TakePace, in the order in which they came

	classes map[string]int64 // under mu; rows that have failed
	latency ledger.Latency   // under mu; of all calls
	windows []ledger.Window  // under mu; since TakeWindows, in the order in which they came
	began   time.Time        // under mu; when the first of them began
}

// keepPace is how many seconds a Meter remembers whose pace nobody takes: more
// than a disk can be away for without ending the run.
const keepPace = 600

// A Reading is what a [Meter] shows.
type Reading struct {
	Succeeded, Failed int64 // rows settled by this process
	Fetched           int64 // members that pages of exports brought
	Calls, Retries    int64
	Refused           int64         // calls that the server refused for their frequency
	Settled           ledger.Cost   // the part of them that belongs to settled chunks
	InOneSecond       int           // calls that left in the last second
	MaxInOneSecond    int           // the most that ever left inside one second
	Silent            time.Duration // since a call left, and none was answered; 0 if the last one was
	Trouble           string        // what the last call got that is to be tried again, "" if there was none
}

// Read returns the counts so far.
func (m *Meter) Read() Reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(time.Now())
	m.now.InOneSecond, m.now.Silent = len(m.recent), 0
	if !m.silent.IsZero() {
		m.now.Silent = time.Since(m.silent)
	}
	return m.now
}

// FailedByClass returns how many of the rows settled by this process have failed with each
// class.
func (m *Meter) FailedByClass() map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.classes)
}

// call counts a call that leaves, and returns when that is, for uncall.
func (m *Meter) call(retry bool) (now time.Time) {
	now = time.Now()
	m.callAt(now, retry)
	return now
}

func (m *Meter) callAt(now time.Time, retry bool) {
	if m.All != nil {
		m.All.callAt(now, retry)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	m.recent = append(m.recent, now)
	if m.silent.IsZero() {
		m.silent = now
	}
	m.now.Calls++
	s := m.second(now)
	s.Calls++
	if retry {
		m.now.Retries++
		s.Retries++
	}
	m.now.MaxInOneSecond = max(m.now.MaxInOneSecond, len(m.recent))
}

// uncall takes a call back that was counted at that time and has not left. The most
// in one second stays as it was: it counts turns then, which the limiter bounds too.
func (m *Meter) uncall(at time.Time, retry bool) {
	if m.All != nil {
		m.All.uncall(at, retry)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.silent.Equal(at) {
		m.silent = time.Time{}
	}
	m.now.Calls--
	s := m.second(at) // what was taken of it already is added up with this
	s.Calls--
	if retry {
		m.now.Retries--
		s.Retries--
	}
	if i := slices.IndexFunc(m.recent, at.Equal); i >= 0 {
		m.recent = slices.Delete(m.recent, i, i+1)
	}
}

// refused counts an answer that says that calls come too often.
func (m *Meter) refused() {
	if m.All != nil {
		m.All.refused()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Refused++
	m.second(time.Now()).Refused++
}

// tryAgain notes why a call is to be tried again.
func (m *Meter) tryAgain(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Trouble = err.Error()
}

// second is the pace of the second of now, or a new part of it. The caller holds m.mu.
func (m *Meter) second(now time.Time) *ledger.Second {
	if n := len(m.pace); n == 0 || m.pace[n-1].Unix != now.Unix() {
		if n == keepPace {
			m.pace = append(m.pace[:0], m.pace[1:]...)
		}
		m.pace = append(m.pace, ledger.Second{Unix: now.Unix()})
	}
	return &m.pace[len(m.pace)-1]
}

// TakePace returns what was counted in each second since it was called last: of
// calls the second in which they left, however late that is asked for. The
// second that goes on is among them, and again the next time if more happens
// in it. Lanes are not known here. The latest 600 seconds are kept.
func (m *Meter) TakePace() []ledger.Second {
	m.mu.Lock()
	defer m.mu.Unlock()
	pace := m.pace
	m.pace = nil
	return pace
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

func (m *Meter) settled(rows settledRows, c ledger.Cost) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Succeeded += rows.succeeded
	for class, n := range rows.failed {
		m.now.Failed += n
		if m.classes == nil {
			m.classes = map[string]int64{}
		}
		m.classes[class] += n
		m.countFailed(class, n)
	}
	m.now.Settled.Calls += c.Calls
	m.now.Settled.Retries += c.Retries
}
