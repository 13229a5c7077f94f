package jobs

import (
	"math/bits"
	"time"

	"chatbatch/io/ledger"
)

const (
	// windowShare says how long a window is: no longer than such a part of the run so
	// far. It is a second in the first half hour, and 32 after ten hours. A ledger
	// of 14 hours has 7,000 of them, of 0.2 to 0.5 KB each, and a picture of 1,500
	// points loses nothing.
	windowShare = 1024

	// keepWindows is how many windows a Meter remembers that nobody takes: of 24
	// KB each. After that the last one goes on and on.
	keepWindows = 32
)

// answered counts the answer to a call.
func (m *Meter) answered(took time.Duration) {
	if m.All != nil {
		m.All.addLatency(took)
	}
	m.addLatency(took)
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.window(time.Now())
	if w.Latency == nil {
		w.Latency = &ledger.Latency{}
	}
	w.Latency.Add(took)
}

func (m *Meter) addLatency(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent = time.Time{}
	m.latency.Add(took)
}

// countFailed counts rows that have failed. The caller holds m.mu.
func (m *Meter) countFailed(class string, rows int64) {
	w := m.window(time.Now())
	if w.Failed == nil {
		w.Failed = map[string]int64{}
	}
	w.Failed[class] += rows
}

// window is the one that is open at now. The caller holds m.mu.
func (m *Meter) window(now time.Time) *ledger.Window {
	unix := now.Unix()
	if n := len(m.windows); n > 0 {
		last := &m.windows[n-1]
		if isOpen(*last, unix) {
			return last
		}
		if n == keepWindows {
			last.Seconds = max(last.Seconds, int(unix-last.Unix)+1)
			return last
		}
	}
	if m.began.IsZero() {
		m.began = now
	}
	m.windows = append(m.windows, ledger.Window{Unix: unix, Seconds: windowSeconds(now.Sub(m.began))})
	return &m.windows[len(m.windows)-1]
}

func isOpen(w ledger.Window, unix int64) bool {
	return unix >= w.Unix && unix < w.Unix+int64(w.Seconds)
}

// windowSeconds is how long a window is that begins when a run has gone on for so
// long: a power of two.
func windowSeconds(run time.Duration) int {
	share := uint(max(run, 0) / time.Second / windowShare)
	return 1 << max(bits.Len(share)-1, 0)
}

// TakeWindows returns the windows that are over since it was called last; with open,
// also that which is not. The next one may begin in the same second.
func (m *Meter) TakeWindows(open bool) []ledger.Window {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.windows)
	if n > 0 && !open && isOpen(m.windows[n-1], time.Now().Unix()) {
		n--
	}
	taken := m.windows[:n:n]
	m.windows = append([]ledger.Window(nil), m.windows[n:]...)
	return taken
}

// Latency returns that of all calls so far, which the caller may keep.
func (m *Meter) Latency() *ledger.Latency {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latency.Clone()
}
