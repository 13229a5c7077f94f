package ledger

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestKeepOnAFullDisk(t *testing.T) {
	_, l := create(t, "r1")
	planSmall(t, l)
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	must(t, err)
	fileOf(l).kept.f = full
	_, err = l.Keep(t.Context(), []byte("members"))
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), fileOf(l).keptPath()) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("got %v, want ErrFull, the file, and what to do", err)
	}
	must(t, l.Settle(t.Context(), 1, make([]Outcome, 2), Cost{})) // it kept nothing
	if l.HasKept() {
		t.Error("it counts")
	}
}
