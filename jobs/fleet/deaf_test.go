package fleet

import (
	"testing"
	"time"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

// A host is deaf when it gets no answers for long, and others do meanwhile.
func TestHearing(t *testing.T) {
	const most = 15 * time.Second
	type look struct {
		all, here int64 // rows that are settled
		silent    time.Duration
	}
	for name, tt := range map[string]struct {
		looks []look
		want  bool
	}{
		"all go on":                 {[]look{{10, 3, 0}, {20, 6, 100 * time.Millisecond}, {90, 30, time.Second}}, false},
		"silence everywhere":        {[]look{{10, 3, 0}, {10, 3, 16 * time.Second}, {10, 3, time.Minute}}, false},
		"others get answers":        {[]look{{10, 3, 0}, {14, 3, 8 * time.Second}, {14, 3, 16 * time.Second}}, true},
		"not for long enough":       {[]look{{10, 3, 0}, {14, 3, 14 * time.Second}}, false},
		"others got theirs before":  {[]look{{10, 3, 0}, {50, 3, 500 * time.Millisecond}, {50, 3, time.Minute}}, false},
		"nor did others since":      {[]look{{10, 0, 2 * time.Second}, {10, 0, 16 * time.Second}}, false},
		"it never had an answer":    {[]look{{10, 0, 2 * time.Second}, {20, 0, 16 * time.Second}}, true},
		"it settles what was ended": {[]look{{10, 3, 0}, {12, 5, 20 * time.Second}}, false},
	} {
		h := hearing{most: most}
		var got bool
		for _, l := range tt.looks {
			got = h.deaf(ledger.Standing{Books: ledger.Books{Succeeded: l.all - 1, Failed: 1}}, jobs.Reading{Succeeded: l.here, Silent: l.silent})
		}
		if got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
