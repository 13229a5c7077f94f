package limiter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// members is a folder with one file for each opening of a budget. Whoever opened
// it holds a kernel lock on its file for life. The lock outlasts any stop
// of the process and none of its deaths, so it tells one from the other where
// no time-out can. All methods run under the lock of the lanes.
type members struct {
	dir  string
	id   uint32        // never 0
	lock *flock.Flock  // nil until joined
	desk *os.File      // the same file, to say what this member does; nil if that cannot be said
	at   time.Duration // when that was last said
	last utterance     // what was said
	past lastSecond    // of its calls
}

func (m *members) path(id uint32) string {
	return filepath.Join(m.dir, fmt.Sprintf("%08x", id))
}

// join makes this member known, after it has removed the files of dead ones. A
// member whose file was removed by a stranger joins again under its old id.
func (m *members) join() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	if m.lock != nil {
		_ = m.lock.Close() // of a file that is no longer there
	}
	if err := m.sweep(); err != nil {
		return err
	}
	for m.id == 0 || m.exists() {
		m.id = rand.Uint32()
	}
	lock := flock.New(m.path(m.id), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		err = errors.New("somebody else has locked it")
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", m.path(m.id), err)
	}
	m.lock = lock
	if m.desk != nil {
		_ = m.desk.Close()
	}
	m.desk, _ = os.OpenFile(m.path(m.id), os.O_WRONLY, 0) // nobody needs to know
	return nil
}

// An utterance is what a process says of itself.
type utterance struct {
	name           string
	calls, waiting int
}

// A memberState is what a member says of itself in its file, for those who look.
type memberState struct {
	PID     int           `json:"pid"`
	Name    string        `json:"name"`
	At      time.Duration `json:"at"`    // when it said so
	Calls   int           `json:"calls"` // in the second before, to a tenth
	Waiting int           `json:"waiting"`
}

// sayAgain is how often a member says what it does.
const sayAgain = time.Second / 2

// stateSize is the size of a member's file: what is said later covers what was said
// before. A name of maxName bytes has its place, however JSON writes it.
const (
	stateSize = 1024
	maxName   = 128
)

// say writes down what the member does, twice a second at most, and at once when
// nobody waits any more. p.calls is a count that only grows.
func (m *members) say(now time.Duration, p utterance) {
	m.past.count(now, p.calls)
	if m.desk == nil || now-m.at < sayAgain && (p.waiting > 0 || m.last.waiting == 0) {
		return
	}
	s := memberState{PID: os.Getpid(), Name: strings.ToValidUTF8(p.name[:min(len(p.name), maxName)], ""), At: now, Calls: m.past.calls(), Waiting: p.waiting}
	m.at = now
	m.last.waiting = p.waiting
	text, err := json.Marshal(s)
	if err != nil || len(text) >= stateSize {
		return
	}
	text = append(text, bytes.Repeat([]byte{' '}, stateSize-1-len(text))...)
	_, _ = m.desk.WriteAt(append(text, '\n'), 0)
}

// A lastSecond counts calls by tenths of a second. What it says is a count of calls that
// were made, in one second, and no average: that would say 210 of a budget of 200.
type lastSecond struct {
	tenth  int64 // the one that is being filled, and not yet counted
	filled [11]int
	total  int // calls counted so far
}

// count is told how many calls there were so far.
func (l *lastSecond) count(now time.Duration, total int) {
	tenth := max(l.tenth, int64(now/(time.Second/10)))
	for t := max(l.tenth+1, tenth-int64(len(l.filled))+1); t <= tenth; t++ {
		l.filled[t%int64(len(l.filled))] = 0
	}
	l.tenth = tenth
	l.filled[tenth%int64(len(l.filled))] += total - l.total
	l.total = total
}

// calls is how many there were in the ten tenths before the one in which it was last told.
func (l *lastSecond) calls() (n int) {
	for i, calls := range l.filled {
		if int64(i) != l.tenth%int64(len(l.filled)) {
			n += calls
		}
	}
	return n
}

// states is what the members have said of themselves. It needs no lock.
func (m *members) states(now time.Duration) (all []Process) {
	entries, _ := os.ReadDir(m.dir) // without members there is nothing to say
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(m.dir, e.Name()))
		var s memberState
		if err != nil || json.Unmarshal(text, &s) != nil {
			continue // it has not said anything yet
		}
		id, err := strconv.ParseUint(e.Name(), 16, 32)
		if err != nil {
			continue
		}
		p := Process{id: uint32(id), PID: s.PID, Name: s.Name, CallsLastSecond: s.Calls, Waiting: s.Waiting, Age: now - s.At}
		if p.Age > 2*time.Second { // who waits says something
			p.CallsLastSecond, p.Waiting = 0, 0
		}
		all = append(all, p)
	}
	return all
}

// alone says whether no other member lives.
func (m *members) alone() (bool, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		id, err := strconv.ParseUint(e.Name(), 16, 32)
		if err == nil && uint32(id) != m.id && !m.dead(uint32(id)) {
			return false, nil
		}
	}
	return true, nil
}

func (m *members) exists() bool {
	_, err := os.Lstat(m.path(m.id))
	return err == nil
}

// sweep removes the files of dead members. Lanes that they held are free, since a
// holder without a file is dead too.
func (m *members) sweep() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if id, err := strconv.ParseUint(e.Name(), 16, 32); err == nil {
			m.dead(uint32(id))
		}
	}
	return nil
}

// dead says whether a member is gone for good, and removes its file if so.
func (m *members) dead(id uint32) bool {
	gone := m.isDead(id)
	if gone {
		_ = os.Remove(m.path(id)) // it may not be there
	}
	return gone
}

// isDead says whether a member is gone for good. When in doubt a member lives.
func (m *members) isDead(id uint32) bool {
	lock := flock.New(m.path(id), flock.SetFlag(os.O_RDWR)) // do not create it
	ok, err := lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil || !ok {
		return false
	}
	_ = lock.Close() // now: Windows does not remove open files
	return true
}

// leave ends the membership. It is the one method that may run without the lock
// of the lanes, if remove is false: the file that stays is that of a dead member.
func (m *members) leave(remove bool) error {
	if m.lock == nil {
		return nil
	}
	if m.desk != nil {
		_ = m.desk.Close()
	}
	err := m.lock.Close()
	if remove {
		err = errors.Join(err, os.Remove(m.path(m.id)))
	}
	return err
}
