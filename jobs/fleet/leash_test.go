package fleet

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// freely gives turns at once.
type freely struct{ taken int }

func (f *freely) Take(context.Context, string) (func(time.Duration, bool), func() bool, error) {
	f.taken++
	return func(time.Duration, bool) {}, func() bool { return false }, nil
}

func (f *freely) TakeAhead(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	return f.Take(ctx, api)
}

func (f *freely) SlowDown(string) {}

// A host that the database does not hear of sends nothing: what it has in hand may be
// another's.
func TestLeash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard atomic.Int64
		var lost atomic.Bool
		hear := func() { heard.Store(time.Now().UnixNano()) }
		hear()
		f := &freely{}
		l := leashed{f, func() (time.Duration, bool) { return time.Since(time.Unix(0, heard.Load())), lost.Load() }}
		_, late, err := l.Take(t.Context(), "api")
		if err != nil || late() {
			t.Fatalf("late: %v, %v", late(), err)
		}
		time.Sleep(sendTime)
		if !late() {
			t.Error("a call that had its turn may leave after the host has gone silent")
		}
		began := time.Now()
		time.AfterFunc(time.Minute, hear)
		if _, _, err := l.TakeAhead(t.Context(), "api"); err != nil || time.Since(began) < time.Minute || f.taken != 2 {
			t.Errorf("a turn after %v, %v", time.Since(began), err)
		}
		time.Sleep(sendTime)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errStopping)
		defer cancel()
		if _, _, err := l.Take(ctx, "api"); !errors.Is(err, errStopping) {
			t.Errorf("got %v", err)
		}
		lost.Store(true)
		if _, _, err := l.Take(t.Context(), "api"); !errors.Is(err, errLost) {
			t.Errorf("got %v", err)
		}
	})
}

// The queue's name is one that River takes, and tells apps and endpoints apart.
func TestQueueNames(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range []App{{1400000000, "https://adminapisgp.im.qcloud.com"}, {1400000001, "https://adminapisgp.im.qcloud.com"}, {1400000000, "http://127.0.0.1:8410"}} {
		for _, s := range []Sort{Calls, Rows, Groups} {
			name := a.queue(s)
			if seen[name] || len(name) > 64 {
				t.Errorf("%v: %q", a, name)
			}
			seen[name] = true
		}
	}
}
