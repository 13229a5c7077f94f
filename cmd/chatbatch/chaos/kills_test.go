//go:build linux

package chaos

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A phase of a call is when its process is killed.
type phase int

const (
	beforeEffect phase = iota // the request is there, nothing has happened
	beforeAnswer              // it has taken effect, and nobody is told
	afterAnswer               // the answer is on its way, and may be in the ledger or not
	phases
)

// killAt starts the program and kills it at its n-th call; that the answer is there is
// followed by a pause.
func (c *process) killAt(api *server, n int, at phase, pause time.Duration) {
	c.t.Helper()
	var come atomic.Int64
	started := make(chan struct{})
	api.misbehave(func(call *call) (handled bool) {
		if come.Add(1) != int64(n) {
			return false
		}
		<-started
		if at == beforeAnswer {
			call.apply()
		}
		if at == afterAnswer {
			call.answer()
			time.AfterFunc(pause, func() { _ = c.Process.Kill() })
			return true
		}
		_ = c.Process.Kill()
		return true
	})
	c.begin()
	close(started)
}

// A killing is a deed under kill.
type killing struct {
	*deed
	rng    *rand.Rand
	kills  int
	halves int  // kills that have left a part of a file
	over   bool // it has ended by itself
}

func newKilling(t *testing.T, d *deed) *killing {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killing{deed: d, rng: rand.New(rand.NewPCG(seed, 0))}
	k.watch()
	return k
}

// words are those of the deed's command. They are the same each time.
func (k *killing) words() []string { return append(slices.Clone(k.args), "--workers", "4", "--json") }

// paced are words with a pace that is slow now and then: then most calls in flight have
// been noted as sent and wait for their turn.
func (k *killing) paced() []string {
	if k.rng.IntN(4) == 0 {
		return append(k.words(), "--qps", "60")
	}
	return k.words()
}

// killed waits for the end of a process that was to be killed, and looks at what lies
// under final names.
func (k *killing) killed(c *process) {
	k.t.Helper()
	code := c.code()
	k.api.misbehave(nil)
	k.whole()
	if code < 0 {
		k.kills++
	} else if k.over = true; code != k.code {
		k.t.Errorf("it was faster, and ended with %d, want %d; it said:\n%s", code, k.code, c.stderr.String())
	}
}

// upTo is a random time.
func (k *killing) upTo(most time.Duration) time.Duration {
	return time.Duration(k.rng.Int64N(int64(most)))
}

// atCall kills the command around a call: before it has an effect, before its answer, or
// behind it, while the answer gets into the ledger.
func (k *killing) atCall() {
	c := k.place.command(k.paced()...)
	c.killAt(k.api, 1+k.rng.IntN(5), phase(k.rng.IntN(int(phases))), k.upTo(4*time.Millisecond))
	k.killed(c)
}

// life is about how long it takes until the first calls.
const life = 40 * time.Millisecond

// soon kills the command at a random moment of the time that it takes to plan or to go on.
func (k *killing) soon() {
	c := k.place.start(k.paced()...)
	time.Sleep(k.upTo(life))
	_ = c.Process.Kill()
	k.killed(c)
}

// atFiles kills the command while it writes the files that its run ends with: an export,
// its manifest, and the reports.
func (k *killing) atFiles() {
	before := k.parts()
	c := k.place.start(k.words()...)
	if c.until(func() bool {
		return slices.ContainsFunc(k.parts(), func(name string) bool { return !slices.Contains(before, name) })
	}) {
		time.Sleep(k.upTo(4 * time.Millisecond))
		_ = c.Process.Kill()
	}
	k.killed(c)
	if slices.ContainsFunc(k.parts(), func(name string) bool { return !slices.Contains(before, name) }) {
		k.halves++
	}
}

// times kills it so many times, if it does not end by itself.
func (k *killing) times(n int, kill func()) {
	for ; n > 0 && !k.over && (!*full || !k.done()); n-- {
		kill()
	}
}

// parts are the files that have not their final names yet: reports, and an export that has
// something in it. (It is tried at the beginning whether it can be written.)
func (k *killing) parts() (parts []string) {
	for _, dir := range k.runDirs() {
		reports, _ := filepath.Glob(filepath.Join(dir, ".*.part-*"))
		parts = append(parts, reports...)
	}
	exports, _ := filepath.Glob(filepath.Join(k.dir, ".*.part-*"))
	for _, name := range exports {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			parts = append(parts, name)
		}
	}
	return parts
}

// TestKill kills commands of all kinds, and gives the same command again each time: around
// calls, at random moments, and at last while files take their places.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, begin := range deeds("marks set", "unread set", "export members", "run") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, begin(newPlace(t), times(1, 8)))
			k.times(times(0, 6), k.soon)
			k.times(times(4, 20), k.atCall)
			k.times(times(0, 6), k.soon)
			k.times(times(1, 8), k.atFiles)
			t.Logf("%d kills, %d of them with a part of a file", k.kills, k.halves)
			tried.add("SIGKILL of "+name, k.kills, k.finish(times(2, 25)))
		})
	}
}
