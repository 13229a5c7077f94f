package chat

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// expected is the table again, written for itself from the API's error pages,
// so that a slip in one shows in the other. A line is
//
//	codes: verdict, then, canary, tries [class] [app] [pause]
//
// where * as tries is the caller's own bound.
const expected = `
0:           retry, chunk, chunk, 3 server_error
10001:       resign, run, run, 1
10002:       retry, chunk, chunk, * server_error
10003:       run, run, run, *
10004:       chunk, chunk, chunk, * refused
10005:       split, chunk, chunk, * refused
10006:       slow, chunk, chunk, * server_error app
10007:       group, group, group, * no_permission
10008:       resign, run, run, 1
10010:       group, group, group, * group_not_found
10011:       chunk, chunk, chunk, * refused
10012:       run, run, run, *
10013-10014: chunk, chunk, chunk, * refused
10015:       group, group, group, * invalid_group
10016:       chunk, chunk, chunk, * refused
10017:       chunk, chunk, chunk, * refused
10018:       split, group, group, * refused
10019:       row, row, row, * offline_or_absent
10021:       chunk, chunk, chunk, * refused
10023-10025: chunk, chunk, chunk, * refused
10026:       run, run, run, *
10030-10038: chunk, chunk, chunk, * refused
10041:       chunk, chunk, chunk, * refused
10050:       chunk, chunk, chunk, * refused
10056:       chunk, chunk, chunk, * refused
10059:       run, run, run, *
10070-10071: chunk, chunk, chunk, * refused
20004-20005: retry, chunk, chunk, * server_error
60002:       run, run, run, *
60003:       chunk, chunk, run, * refused
60004-60005: resign, chunk, run, 1 refused
60006:       run, run, run, *
60007:       slow, chunk, chunk, * server_error
60008:       retry, chunk, chunk, 3 server_error
60009-60010: run, run, run, *
60011:       slow, chunk, chunk, * server_error app
60012:       run, run, run, *
60013-60014: retry, chunk, chunk, * server_error
60015:       chunk, chunk, chunk, * refused
60016-60017: run, run, run, *
60018-60019: slow, chunk, chunk, * server_error app
60020-60021: run, run, run, *
70001:       resign, run, run, 1
70002:       run, run, run, *
70003:       resign, run, run, 1
70005:       run, run, run, *
70009:       run, run, run, *
70013-70014: run, run, run, *
70016:       run, run, run, *
70020:       run, run, run, *
70050:       retry, run, run, 1 pause
70051:       run, run, run, *
70052:       resign, run, run, 1
70107:       row, row, row, * offline_or_absent
70114:       run, run, run, *
70169:       retry, chunk, chunk, * server_error
70202:       retry, chunk, chunk, * server_error
70206:       split, chunk, chunk, * refused
70398:       run, run, run, *
70402:       chunk, chunk, chunk, * refused
70403:       run, run, run, *
70500:       retry, chunk, chunk, * server_error
71000:       chunk, chunk, chunk, * refused
90990-91000: retry, chunk, chunk, * server_error
`

// unlisted are codes without a line: those of the gateway are tried a few
// times, all others once.
const unlisted = `
60000-60001: retry, chunk, chunk, 3 server_error
60022-60100: retry, chunk, chunk, 3 server_error
69999:       retry, chunk, chunk, 3 server_error
-1:          retry, chunk, chunk, 1 refused
1:           retry, chunk, chunk, 1 refused
9999-10000:  retry, chunk, chunk, 1 refused
10009:       retry, chunk, chunk, 1 refused
10060:       retry, chunk, chunk, 1 refused
11000:       retry, chunk, chunk, 1 refused
59999:       retry, chunk, chunk, 1 refused
70000:       retry, chunk, chunk, 1 refused
80002:       retry, chunk, chunk, 1 refused
91001:       retry, chunk, chunk, 1 refused
2147483648:  retry, chunk, chunk, 1 refused
`

// parse reads such a table. Meaning and Hint are not in it.
func parse(t *testing.T, table string) map[Code]Ruling {
	t.Helper()
	verdicts := map[string]Verdict{"retry": Retry, "slow": Slow, "resign": Resign, "split": Split, "row": FailRow, "chunk": FailChunk, "group": FailGroup, "run": StopRun}
	rules := map[Code]Ruling{}
	for line := range strings.Lines(strings.TrimSpace(table)) {
		codes, rest, _ := strings.Cut(line, ":")
		from, to := Code(0), Code(0)
		if n, _ := fmt.Sscanf(codes, "%d-%d", &from, &to); n == 1 {
			to = from
		}
		f := strings.FieldsFunc(rest, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
		r := Ruling{Verdict: verdicts[f[0]], Then: verdicts[f[1]], Canary: verdicts[f[2]]}
		if r.Verdict == 0 || r.Then == 0 || r.Canary == 0 {
			t.Fatalf("no verdict in %q", line)
		}
		fmt.Sscan(f[3], &r.Tries)
		for _, word := range f[4:] {
			switch word {
			case "app":
				r.WholeApp = true
			case "pause":
				r.Pause = time.Minute
			default:
				r.Class = word
			}
		}
		for c := from; c <= to; c++ {
			rules[c] = r
		}
	}
	return rules
}

func TestRuleCodeByCode(t *testing.T) {
	got := map[Code]Ruling{}
	last := Code(-1)
	for code, r := range Rules() {
		if code <= last {
			t.Errorf("%d stands behind %d: not in order", code, last)
		}
		last = code
		if diff := cmp.Diff(r, Rule(code)); diff != "" {
			t.Errorf("%d: Rules and Rule differ:\n%s", code, diff)
		}
		r.Meaning, r.Hint = "", ""
		got[code] = r
	}
	if diff := cmp.Diff(parse(t, expected), got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	for code, want := range parse(t, unlisted) {
		got := Rule(code)
		got.Meaning, got.Hint = "", ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d (-want +got):\n%s", code, diff)
		}
	}
}

func TestRulesEndEarly(t *testing.T) {
	for code := range Rules() {
		if code == 10002 {
			return
		}
	}
	t.Error("10002 is not in the table")
}

// checkRuling holds what every ruling promises its readers.
func checkRuling(t *testing.T, name string, r Ruling) {
	t.Helper()
	terminal := func(v Verdict) bool { return v >= FailRow && v <= StopRun }
	if !terminal(r.Then) || !terminal(r.Canary) {
		t.Errorf("%s: ends in %v and %v, want an end", name, r.Then, r.Canary)
	}
	if terminal(r.Verdict) && r.Then != r.Verdict {
		t.Errorf("%s: %v, then %v", name, r.Verdict, r.Then)
	}
	if r.Canary != r.Then && r.Canary != StopRun {
		t.Errorf("%s: then %v, canary %v", name, r.Then, r.Canary)
	}
	if r.Meaning == "" {
		t.Errorf("%s: no meaning", name)
	}
	if r.Hint == "" && (r.Then == StopRun || r.Canary == StopRun) {
		t.Errorf("%s: may stop the run without a hint", name)
	}
	if (r.Class == "") != (r.Then == StopRun) {
		t.Errorf("%s: then %v, class %q", name, r.Then, r.Class)
	}
	if r.WholeApp && r.Verdict != Slow {
		t.Errorf("%s: whole app, but %v", name, r.Verdict)
	}
	if r.Verdict == Resign && r.Tries != 1 {
		t.Errorf("%s: re-signs %d times, want 1", name, r.Tries)
	}
}

func TestRulingsHold(t *testing.T) {
	for code, r := range Rules() {
		checkRuling(t, fmt.Sprint(code), r)
	}
	for _, code := range []Code{-1, 4711, 60100} {
		checkRuling(t, fmt.Sprint(code), Rule(code))
	}
	for _, reason := range reasons {
		for _, status := range []int{0, 204, 302, 400, 404, 407, 408, 413, 425, 429, 499, 500, 502, 599} {
			checkRuling(t, fmt.Sprint(reason, status), Judge(&TransportError{Reason: reason, Status: status}))
		}
	}
	checkRuling(t, "other error", Judge(errors.New("x")))
}

var reasons = []string{ReasonTimeout, ReasonReset, ReasonEOF, ReasonDNS, ReasonTLS, ReasonConnect, ReasonStatus,
	ReasonRedirect, ReasonNotJSON, ReasonTooLarge, ReasonLate, ReasonOther}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name    string
		err     error
		verdict Verdict
		class   string
	}{
		{"nil", nil, Accepted, ""},
		{"refusal", &Error{Code: 10015}, FailGroup, ClassInvalidGroup},
		{"wrapped refusal", fmt.Errorf("chunk 3: %w", &Error{Code: 60011}), Slow, ClassServerError},
		{"FAIL with 0", &Error{}, Retry, ClassServerError},
		{"time-out", &TransportError{Reason: ReasonTimeout}, Retry, ClassNoAnswer},
		{"not sent", &TransportError{Reason: ReasonLate, Err: ErrLate}, Retry, ClassNoAnswer},
		{"wrapped reset", fmt.Errorf("x: %w", &TransportError{Reason: ReasonReset}), Retry, ClassNoAnswer},
		{"too large", &TransportError{Reason: ReasonTooLarge, Status: 200}, Retry, ClassNoAnswer},
		{"redirect", &TransportError{Reason: ReasonRedirect, Status: 302}, StopRun, ""},
		{"413", &TransportError{Reason: ReasonStatus, Status: 413}, Split, ClassRefused},
		{"429", &TransportError{Reason: ReasonStatus, Status: 429}, Slow, ClassNoAnswer},
		{"418", &TransportError{Reason: ReasonStatus, Status: 418}, StopRun, ""},
		{"other", errors.New("x"), StopRun, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := Judge(tt.err); r.Verdict != tt.verdict || r.Class != tt.class {
				t.Errorf("got %v, class %q; want %v, %q", r.Verdict, r.Class, tt.verdict, tt.class)
			}
		})
	}
}

func TestVerdictString(t *testing.T) {
	var got []string
	for v := Accepted - 1; v <= StopRun+1; v++ {
		got = append(got, v.String())
	}
	want := []string{"verdict(-1)", "accepted", "retry", "slow down", "re-sign", "split", "failed: row", "failed: chunk", "failed: group", "failed: run", "verdict(9)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

func TestCodeOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Code
	}{{nil, 0}, {errors.New("x"), 0}, {&TransportError{Status: 502}, 0}, {&Error{Code: 7}, 7}, {errors.Join(errors.New("x"), fmt.Errorf("y: %w", &Error{Code: 8})), 8}} {
		if got := CodeOf(tt.err); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.err, got, tt.want)
		}
	}
}
