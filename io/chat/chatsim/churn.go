package chatsim

import (
	"math/rand/v2"
	"strconv"
)

// churned is how far the churn of a group has come. Under the mutex.
type churned struct {
	calls  int // of get_group_member_info
	events int
	named  int // the number of the latest who joined
	listed int // the last position of the latest answer
	rng    *rand.Rand
}

// churnPrefix begins the accounts of those who join while an export runs.
const churnPrefix = "joined-"

// stir is told of each get_group_member_info before it is served, and lets
// members leave and join when it is time.
func (g *group) stir() {
	c, done := &g.churn, &g.churned
	if c.Every == 0 {
		return
	}
	done.calls++
	if done.calls%c.Every != 0 || c.Calls > 0 && done.events >= c.Calls {
		return
	}
	done.events++
	if done.rng == nil {
		done.rng = rand.New(rand.NewPCG(g.sc.Seed+streamChurn, mix(g.sc.Seed, g.id, "")))
	}
	for range c.Leave {
		if pos := g.leaver(); pos != 0 {
			g.leave(pos)
		}
	}
	for range c.Join {
		g.newcomer()
	}
}

// leaver chooses who leaves: one who was listed already, so that all who
// follow move up; 0 for nobody. An owner cannot leave.
func (g *group) leaver() int {
	n := g.rank(min(g.churned.listed, g.last()))
	if n == 0 {
		return 0
	}
	k := g.churned.rng.IntN(n)
	switch pos := g.at(k); {
	case pos != g.owner:
		return pos
	case n == 1:
		return 0
	default:
		return g.at((k + 1) % n)
	}
}

// newcomer lets an account join that never was a member.
func (g *group) newcomer() {
	for {
		g.churned.named++
		account := churnPrefix + strconv.Itoa(g.churned.named)
		if _, made := g.generated(account); made || g.known(account) || g.left[account] {
			continue
		}
		g.join(account)
		if g.told == nil {
			g.told = map[string]bool{}
		}
		g.told[account] = true
		return
	}
}
