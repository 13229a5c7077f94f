package chat

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"
)

// A Verdict is what the end of a call means for the run.
type Verdict int

// The verdicts. From FailRow on they are terminal: another call does not help.
const (
	Accepted  Verdict = iota // the call succeeded
	Retry                    // back off, then the same call again
	Slow                     // cut the rate, back off, then the same call again
	Resign                   // renew the UserSig, then the same call once more
	Split                    // the request (or the answer it asks for) is too large: halve it, and keep the smaller size for the rest of the run
	FailRow                  // an account of the request is at fault: the row if it is alone, otherwise halve to find it
	FailChunk                // this request is refused; which account is to blame is not said
	FailGroup                // all that is asked of this group fails
	StopRun                  // every later call would fail alike
)

// String returns the verdict as reports print it.
func (v Verdict) String() string {
	names := [...]string{"accepted", "retry", "slow down", "re-sign", "split",
		"failed: row", "failed: chunk", "failed: group", "failed: run"}
	if v < 0 || int(v) >= len(names) {
		return fmt.Sprintf("verdict(%d)", int(v))
	}
	return names[v]
}

// Classes of rows that fail by a ruling.
const (
	ClassRefused       = "refused"           // the server refuses the row or its chunk
	ClassGroupNotFound = "group_not_found"   // 10010
	ClassInvalidGroup  = "invalid_group"     // 10015
	ClassNoPermission  = "no_permission"     // 10007
	ClassAbsent        = "offline_or_absent" // 10019, 70107: there is no such account
	ClassServerError   = "server_error"      // a transient code that outlasted all retries
	ClassNoAnswer      = "no_answer"         // no usable answer outlasted all retries
)

// A Ruling is what to do about one ErrorCode, or about a call without an
// answer. Then and Canary are always terminal, except that of Accepted.
type Ruling struct {
	Verdict  Verdict
	Then     Verdict       // what becomes of it when retries, the re-sign or halving down to 1 did not help; Verdict itself where that is terminal
	Canary   Verdict       // stands for Then when the first call of a run gets it
	Tries    int           // most retries of one call; 0 = the caller's own bound
	WholeApp bool          // Slow: the budget of the app is spent, not that of this API alone
	Pause    time.Duration // stop all calls this long first, then let one go as a canary
	Class    string        // class of the rows that fail by it, "" where none does
	Meaning  string        // short English phrase
	Hint     string        // what the user can do; set wherever the run may stop
}

// Retries of codes that may as well be permanent.
const (
	fewTries = 3 // e.g. 60008: a time-out, or a malformed request
	oneTry   = 1
)

// lockout is how long the server asks to wait after too many wrong UserSigs.
const lockout = time.Minute

// ruled is a line of the table.
type ruled struct {
	code Code
	Ruling
}

// The shapes of rulings.

func retry(code Code, tries int, meaning string) ruled {
	return ruled{code, Ruling{Verdict: Retry, Then: FailChunk, Canary: FailChunk, Tries: tries, Class: ClassServerError, Meaning: meaning}}
}

func slow(code Code, wholeApp bool, meaning string) ruled {
	return ruled{code, Ruling{Verdict: Slow, Then: FailChunk, Canary: FailChunk, WholeApp: wholeApp, Class: ClassServerError, Meaning: meaning}}
}

func resign(code Code, meaning, hint string) ruled {
	return ruled{code, Ruling{Verdict: Resign, Then: StopRun, Canary: StopRun, Tries: oneTry, Meaning: meaning, Hint: hint}}
}

func split(code Code, then Verdict, meaning string) ruled {
	return ruled{code, Ruling{Verdict: Split, Then: then, Canary: then, Class: ClassRefused, Meaning: meaning}}
}

func fail(code Code, v Verdict, class, meaning string) ruled {
	return ruled{code, Ruling{Verdict: v, Then: v, Canary: v, Class: class, Meaning: meaning}}
}

func chunk(code Code, meaning string) ruled { return fail(code, FailChunk, ClassRefused, meaning) }

func stop(code Code, meaning, hint string) ruled {
	return ruled{code, Ruling{Verdict: StopRun, Then: StopRun, Canary: StopRun, Meaning: meaning, Hint: hint}}
}

// orStop makes the ruling stop the run when the first call gets it.
func (r ruled) orStop(hint string) ruled {
	r.Canary, r.Hint = StopRun, hint
	return r
}

// Hints that several codes share.
const (
	hintAdmin    = "check that the identifier is an App admin account of this SDKAppID"
	hintEndpoint = "check the endpoint: it must be the API's host for the region of this SDKAppID"
	hintKey      = "check the secret key and the SDKAppID: the key must be this app's own"
	hintSig      = "check that the UserSig is whole, or give the secret key instead"
	hintRegion   = "check the SDKAppID, and that the region is the data centre it lives in"
	hintVendor   = "ask the vendor's support, with the ErrorInfo and the request id"
	hintNetwork  = "check the network, and the endpoint: it must be the API's host"
	hintBug      = "the request was not understood: report this, with the ErrorInfo"
)

// rulings is the table of the codes that the API's public error pages list
// and a bulk job can meet, in code order. Codes of 10xxx come from the group
// layer, 60xxx from the gateway, 70xxx from the account layer.
var rulings = [...]ruled{
	retry(0, fewTries, "ActionStatus FAIL without an error code"),

	resign(10001, "the admin is not logged in", hintAdmin+", and that the UserSig is valid"),
	retry(10002, 0, "internal error of the server"),
	stop(10003, "unknown command", hintEndpoint),
	chunk(10004, "invalid parameter"),
	split(10005, FailChunk, "too many accounts in one request"),
	slow(10006, true, "group operations too frequent"),
	fail(10007, FailGroup, ClassNoPermission, "no permission, or the group's type does not allow this"),
	resign(10008, "illegal request, maybe a wrong signature", hintAdmin+", and that the UserSig is valid"),
	fail(10010, FailGroup, ClassGroupNotFound, "the group does not exist or was disbanded"),
	chunk(10011, "the server cannot parse the request's JSON"),
	stop(10012, "the operator's account is illegal", hintAdmin),
	chunk(10013, "refused (code of another API)"),
	chunk(10014, "refused (code of another API)"),
	fail(10015, FailGroup, ClassInvalidGroup, "invalid group ID"),
	chunk(10016, "the app's own webhook refused the operation"),
	chunk(10017, "refused (code of another API)"),
	split(10018, FailGroup, "the answer would be larger than 1 MB"),
	fail(10019, FailRow, ClassAbsent, "a requested account does not exist"),
	chunk(10021, "refused (code of another API)"),
	chunk(10023, "refused (code of another API)"),
	chunk(10024, "refused (code of another API)"),
	chunk(10025, "refused (code of another API)"),
	stop(10026, "this command is disabled for the SDKAppID", hintVendor),
	chunk(10030, "refused (code of another API)"),
	chunk(10031, "refused (code of another API)"),
	chunk(10032, "refused (code of another API)"),
	chunk(10033, "refused (code of another API)"),
	chunk(10034, "refused (code of another API)"),
	chunk(10035, "refused (code of another API)"),
	chunk(10036, "refused (code of another API)"),
	chunk(10037, "refused (code of another API)"),
	chunk(10038, "refused (code of another API)"),
	chunk(10041, "refused (code of another API)"),
	chunk(10050, "refused (code of another API)"),
	chunk(10056, "refused (code of another API)"),
	stop(10059, "the app's edition does not include this", "buy the edition that includes it, and enable it in the console"),
	chunk(10070, "refused (code of another API)"),
	chunk(10071, "refused (code of another API)"),

	retry(20004, 0, "network error inside the server"),
	retry(20005, 0, "internal error of the server"),

	stop(60002, "the server cannot parse the HTTP request", hintEndpoint),
	chunk(60003, "the server cannot parse the request's JSON").orStop(hintBug),
	signature(60004, "an account or the signature is wrong"),
	signature(60005, "an account or the signature is wrong"),
	stop(60006, "invalid SDKAppID", "check the SDKAppID"),
	slow(60007, false, "calls of this API too frequent"),
	retry(60008, fewTries, "service time-out, or a malformed request"),
	stop(60009, "resource error", hintEndpoint),
	stop(60010, "the identifier is no App admin", hintAdmin),
	slow(60011, true, "calls of this SDKAppID too frequent"),
	stop(60012, "no SDKAppID in the request", "check the SDKAppID"),
	retry(60013, 0, "the server could not parse its own answer"),
	retry(60014, 0, "account exchange time-out"),
	chunk(60015, "an account is not a string"),
	stop(60016, "the SDKAppID is disabled", hintVendor),
	stop(60017, "the request is disabled", hintVendor),
	slow(60018, true, "too frequent, try again later"),
	slow(60019, true, "too frequent, try again later"),
	stop(60020, "the app's plan has expired or was not bought", "renew the plan, wait 5 minutes after buying, run again"),
	stop(60021, "this host's IP address is not allowed", "add this host's address to the app's list of allowed IPs, or run on a host that is on it"),

	resign(70001, "the UserSig has expired", "check this host's clock; a ready UserSig must be made anew"),
	stop(70002, "the UserSig is empty", hintSig),
	resign(70003, "the UserSig cannot be parsed", hintSig),
	stop(70005, "the UserSig does not pass its check", hintSig),
	stop(70009, "the UserSig was not made with this app's key", hintKey),
	stop(70013, "the UserSig is of another account", "check the identifier: the UserSig must be made for it"),
	stop(70014, "the UserSig is of another SDKAppID", "check the SDKAppID: the UserSig must be made for it"),
	stop(70016, "no key is known for the SDKAppID", hintRegion),
	stop(70020, "the SDKAppID is not known", hintRegion),
	{70050, Ruling{Verdict: Retry, Then: StopRun, Canary: StopRun, Tries: oneTry, Pause: lockout,
		Meaning: "too many wrong UserSigs, locked for a minute", Hint: hintKey + "; then wait a minute"}},
	stop(70051, "the admin account is on a block list", hintVendor),
	resign(70052, "the UserSig is no longer valid", hintSig),
	fail(70107, FailRow, ClassAbsent, "the account is not imported"),
	stop(70114, "restricted for security reasons", hintVendor),
	retry(70169, 0, "time-out inside the server"),
	retry(70202, 0, "time-out inside the server"),
	split(70206, FailChunk, "illegal number of accounts in one request"),
	stop(70398, "account quota of the trial edition", "upgrade the app's edition"),
	chunk(70402, "illegal parameter"),
	stop(70403, "the call needs an App admin", hintAdmin),
	retry(70500, 0, "internal error of the server"),
	chunk(71000, "refused (code of another API)"),

	retry(90990, 0, "internal error of the server"),
	retry(90991, 0, "internal error of the server"),
	retry(90992, 0, "internal error of the server"),
	retry(90993, 0, "internal error of the server"),
	retry(90994, 0, "internal error of the server"),
	retry(90995, 0, "internal error of the server"),
	retry(90996, 0, "internal error of the server"),
	retry(90997, 0, "internal error of the server"),
	retry(90998, 0, "internal error of the server"),
	retry(90999, 0, "internal error of the server"),
	retry(91000, 0, "internal error of the server"),
}

// signature is a code that means the URL's signature or an account in the
// body. A new signature is tried; once the run has had a good answer it is the
// body.
func signature(code Code, meaning string) ruled {
	r := resign(code, meaning, hintAdmin+", and that the UserSig is valid")
	r.Then, r.Class = FailChunk, ClassRefused
	return r
}

// Rule returns the ruling on an ErrorCode that came with a refusal. A code
// that is not listed is tried once more, one of the gateway (60xxx) a few
// times, and then fails its chunk.
func Rule(code Code) Ruling {
	i, found := slices.BinarySearchFunc(rulings[:], code, func(r ruled, c Code) int { return cmp.Compare(r.code, c) })
	switch {
	case found:
		return rulings[i].Ruling
	case code >= 60000 && code <= 69999:
		return retry(code, fewTries, "unknown error of the gateway").Ruling
	}
	r := retry(code, oneTry, "unknown error").Ruling
	r.Class = ClassRefused
	return r
}

// Rules lists the codes that have a ruling of their own, in code order.
func Rules() iter.Seq2[Code, Ruling] {
	return func(yield func(Code, Ruling) bool) {
		for _, r := range rulings {
			if !yield(r.code, r.Ruling) {
				return
			}
		}
	}
}

// Judge returns the ruling on the error of a call. An error that is neither
// an [*Error] nor a [*TransportError] never came from the server: it stops the
// run. Ask your context first, since a call that was given up says so by an
// error too, and nothing follows from it.
func Judge(err error) Ruling {
	if err == nil {
		return Ruling{Meaning: "accepted"}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return Rule(e.Code)
	}
	if te, ok := errors.AsType[*TransportError](err); ok {
		return judgeTransport(te)
	}
	return stop(0, "the call could not be made", "read the error's text; nothing was sent").Ruling
}

// judgeTransport rules on a call without an answer. When not even the first
// call of a run can get one, the endpoint is wrong or away: the rows are kept
// for the next run instead of failing one by one.
func judgeTransport(te *TransportError) Ruling {
	r := retry(0, 0, "no usable answer: "+te.Reason)
	r.Class = ClassNoAnswer
	switch {
	case te.Reason == ReasonRedirect:
		return stop(0, "the endpoint redirects elsewhere", hintEndpoint).Ruling
	case badCertificate(te):
		return stop(0, "the endpoint's certificate is not trusted",
			hintEndpoint+"; check this host's clock, its root certificates, and any proxy that opens TLS").Ruling
	case te.Reason == ReasonTooLarge:
		r.Tries = oneTry
	case te.Reason == ReasonStatus:
		return judgeStatus(te, r)
	}
	return r.orStop(hintOf(te.Reason)).Ruling
}

// hintOf says what to do when no answer comes for a reason.
func hintOf(reason string) string {
	switch reason {
	case ReasonDNS:
		return "check the name of the endpoint, and this host's name servers"
	case ReasonConnect:
		return "check that this host may connect there: a firewall, or a proxy that HTTPS_PROXY must name"
	case ReasonTimeout:
		return "check the network: a firewall that drops what it does not like, a proxy, or a server with too much to do"
	case ReasonTLS:
		return hintEndpoint + ", and speak TLS there; a proxy may be in the way"
	case ReasonNotJSON:
		return hintEndpoint + "; a proxy or a login page may answer in its place"
	}
	return hintNetwork
}

func judgeStatus(te *TransportError, r ruled) Ruling {
	r.Meaning = fmt.Sprintf("HTTP status %d", te.Status)
	r.Pause = te.RetryAfter
	switch {
	case te.Status == http.StatusTooManyRequests:
		r.Verdict, r.WholeApp = Slow, true
	case te.Status == http.StatusRequestEntityTooLarge:
		return split(0, FailChunk, r.Meaning).Ruling
	case te.Status == http.StatusProxyAuthRequired:
		return stop(0, r.Meaning, "the proxy wants to know who you are: put user and password into HTTPS_PROXY, http://user:password@host:port").Ruling
	case te.Status >= 400 && te.Status < 500 && te.Status != http.StatusRequestTimeout:
		return stop(0, r.Meaning, hintEndpoint+"; a proxy may be in the way").Ruling
	}
	return r.orStop(hintNetwork).Ruling
}
