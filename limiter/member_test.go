package limiter

import (
	"testing"
	"time"
)

// What a member says of the last second are calls that it made in one second.
func TestLastSecond(t *testing.T) {
	var l lastSecond
	at, total := 17*time.Hour, 0
	call := func(each time.Duration, n int) {
		for range n {
			at += each
			total++
			l.count(at, total)
		}
	}
	check := func(when string, want int) {
		t.Helper()
		if got := l.calls(); got != want {
			t.Errorf("%s: got %d, want %d", when, got, want)
		}
	}
	call(5*time.Millisecond, 60)
	check("in its first 300 ms", 59) // the last is of a tenth that has just begun
	call(5*time.Millisecond, 1000)
	check("200 a second", 200)
	call(50*time.Millisecond, 40)
	check("20 a second, for two", 20)
	at += 1150 * time.Millisecond
	l.count(at, total)
	check("after a second without", 0)
	total += 7
	l.count(at, total)
	check("seven just now", 0)
	at += 100 * time.Millisecond
	l.count(at, total)
	check("a tenth later", 7)
	at += time.Hour
	l.count(at, total)
	check("an hour later", 0)
	at -= time.Minute // no clock of a host does that
	l.count(at, total+1)
	check("a clock that goes back", 0)
}
