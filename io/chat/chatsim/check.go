package chatsim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	scopeApp, scopeAPI         = "app", "api"
	windowSliding, windowFixed = "sliding", "fixed"

	maxQPS      = 100_000
	maxPage     = 1000       // a get_members never lists more
	maxGenerate = 10_000_000 // a list of who is online looks at all of them, at worst
	maxAccount  = 32         // bytes of a UserID
)

// A fieldError is a scenario that cannot be: which field, and why.
type fieldError struct {
	path []any // names and indexes, e.g. "faults", 1, "rate"
	line int   // of the YAML text; 0 when there is none
	why  string
}

func (e *fieldError) Error() string {
	s := ""
	if e.line > 0 {
		s = fmt.Sprintf("line %d: ", e.line)
	}
	for i, p := range e.path {
		switch p := p.(type) {
		case int:
			s += fmt.Sprintf("[%d]", p)
		default:
			if i > 0 {
				s += "."
			}
			s += fmt.Sprint(p)
		}
	}
	return s + ": " + e.why
}

func bad(why string, path ...any) error { return &fieldError{path: path, why: why} }

// check refuses a scenario that would not do what it says. It is asked
// before the defaults are filled in.
func (s *Scenario) check() error {
	if err := s.checkNumbers(); err != nil {
		return err
	}
	if s.SDKAppID < 0 {
		return bad("is below zero", "sdkappid")
	}
	if s.SecretKey != "" && s.SDKAppID == 0 {
		return bad("is needed to check a UserSig by secret_key", "sdkappid")
	}
	if !slices.Contains([]string{"", scopeApp, scopeAPI}, s.QPSScope) {
		return bad(fmt.Sprintf("%q is neither app nor api", s.QPSScope), "qps_scope")
	}
	if !slices.Contains([]string{"", windowSliding, windowFixed}, s.Window) {
		return bad(fmt.Sprintf("%q is neither sliding nor fixed", s.Window), "window")
	}
	for i, a := range s.Poison {
		if !validAccount(a) {
			return bad("is no UserID of 1 to 32 bytes", "poison", i)
		}
	}
	if !slices.Contains([]string{"", offsetBefore, offsetAfter}, s.RoleOffset) {
		return bad(fmt.Sprintf("%q is neither before nor after", s.RoleOffset), "role_offset")
	}
	if err := s.checkGroups(); err != nil {
		return err
	}
	if err := s.checkGenerateGroups(); err != nil {
		return err
	}
	for i := range s.Faults {
		if err := s.Faults[i].check(i); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scenario) checkNumbers() error {
	for _, f := range []struct {
		name          string
		value, lo, hi int
	}{
		{"qps", s.QPS, -maxQPS, maxQPS},
		{"app_qps", s.AppQPS, 0, maxQPS},
		{"auth_failures", s.AuthFailures, -1, 1000},
		{"page_size", s.PageSize, 0, maxPage},
		{"max_members", s.MaxMembers, 0, 100_000},
		{"over_quota_code", s.OverQuotaCode, 0, 99_999},
		{"all_offline_code", s.AllOfflineCode, 0, 99_999},
		{"not_premium_code", s.NotPremiumCode, 0, 99_999},
		{"poison_code", s.PoisonCode, 0, 99_999},
		{"member_limit", s.MemberLimit, 0, maxMemberLimit},
		{"community_limit", s.CommunityLimit, 0, maxMemberLimit},
		{"max_answer", s.MaxAnswer, 0, 8 << 20},
		{"not_member_code", s.NotMemberCode, 0, 99_999},
		{"group_list_qps", s.GroupListQPS, -maxQPS, maxQPS},
		{"group_list_limit", s.GroupListLimit, 0, maxGroupList},
		{"open_members", s.OpenMembers, -1, maxGenerate},
	} {
		if f.value < f.lo || f.value > f.hi {
			return bad(fmt.Sprintf("%d is not within %d to %d", f.value, f.lo, f.hi), f.name)
		}
	}
	if err := checkDelay(s.Latency, "latency"); err != nil {
		return err
	}
	if err := checkDelay(s.Jitter, "jitter"); err != nil {
		return err
	}
	return checkRate(s.OfflineRate, "offline_rate")
}

func checkDelay(d time.Duration, path ...any) error {
	if d < 0 || d > time.Hour {
		return bad(fmt.Sprintf("%v is not within 0 to 1h", d), path...)
	}
	return nil
}

func checkRate(r float64, path ...any) error {
	if !(r >= 0 && r <= 1) { // so that NaN is refused, too
		return bad(fmt.Sprintf("%v is not within 0 to 1", r), path...)
	}
	return nil
}

func (f *Fault) check(i int) error {
	if !slices.Contains(kinds(), f.Kind) {
		return bad(fmt.Sprintf("%q is none of %v", string(f.Kind), kinds()), "faults", i, "kind")
	}
	if err := checkRate(f.Rate, "faults", i, "rate"); err != nil {
		return err
	}
	if err := checkDelay(f.Delay, "faults", i, "delay"); err != nil {
		return err
	}
	switch {
	case f.Rate == 0 && f.Count == 0:
		return bad("is 0 and so is count: it would never happen", "faults", i, "rate")
	case f.After < 0:
		return bad("is below zero", "faults", i, "after")
	case f.Count < 0:
		return bad("is below zero", "faults", i, "count")
	case f.Code < 0 || f.Code > 99_999:
		return bad(fmt.Sprintf("%d is not within 0 to 99999", f.Code), "faults", i, "code")
	case f.Status != 0 && (f.Status < 300 || f.Status > 599):
		return bad(fmt.Sprintf("%d is not within 300 to 599", f.Status), "faults", i, "status")
	case f.Kind == KindMembers && f.Members < 1:
		return bad("must be at least 1", "faults", i, "members")
	}
	return f.checkCommand(i)
}

func (f *Fault) checkCommand(i int) error {
	all := make([]string, len(commands))
	for j, c := range commands {
		all[j] = c.name
	}
	of := all
	switch f.Kind {
	case KindStuck:
		of = []string{commandGetMembers, commandMemberInfo}
	case KindMembers:
		of = []string{commandModifyUserInfo}
	}
	switch {
	case f.Command == "":
		return nil
	case !slices.Contains(all, f.Command):
		return bad(fmt.Sprintf("%q is neither %s", f.Command, strings.Join(all, " nor ")), "faults", i, "command")
	case !slices.Contains(of, f.Command):
		return bad(fmt.Sprintf("a %s is of %s", f.Kind, strings.Join(of, " or ")), "faults", i, "command")
	}
	return nil
}

func kinds() []Kind {
	return []Kind{KindCode, KindOverQuota, KindStatus, KindReset, KindCut, KindGarbage, KindLost, KindHang,
		KindSlow, KindFailZero, KindNoCode, KindAction1, KindStuck, KindMembers}
}

func validAccount(a string) bool { return len(a) >= 1 && len(a) <= maxAccount }
