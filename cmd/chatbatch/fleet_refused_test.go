package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestFleetRefused has a server that refuses the app for a while, as one whose plan has
// run out. That costs one call for each time that the run is given to the hosts, however
// many there are; when it is mended, the hosts that were refused go on as they are.
func TestFleetRefused(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 80, "1000")
	var mended atomic.Bool
	var refused atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mended.Load() {
			f.sim.ServeHTTP(w, r)
			return
		}
		refused.Add(1)
		_, _ = io.WriteString(w, `{"ActionStatus":"FAIL","ErrorCode":60020,"ErrorInfo":"the plan has run out"}`)
	}))
	defer server.Close()
	f.url = server.URL
	for range 3 {
		f.host(f.server.URL())
	}
	for given := int64(1); given <= 2; given++ {
		p := f.submit("--wait")
		if _, code := f.finished(p); code != exitRefused || !strings.Contains(p.stderr.String(), "60020") {
			t.Errorf("it ends with exit code %d; it said:\n%s", code, p.stderr.String())
		}
		if n := refused.Load(); n != given {
			t.Errorf("the run was given to the hosts %d times, and %d calls were made", given, n)
		}
	}
	mended.Store(true)
	f.check(f.finished(f.submit("--wait")))
}
