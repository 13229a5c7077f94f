package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"chatbatch/io/chat"
)

// signature notes what a ready signature says of itself. The server is the judge of it.
func (c *checkup) signature(conn *connection) {
	sig, ready := conn.chat.Signer.(chat.FixedSig)
	if !ready {
		return
	}
	f := finding{Name: "signature", State: stateWarning}
	claims, err := sig.Claims()
	left := time.Until(claims.Expires).Round(time.Second)
	switch {
	case err != nil:
		f.Text, f.Do = "CHATBATCH_USERSIG: "+err.Error(), "copy all of it, or give the secret key instead"
	case claims.SDKAppID != conn.chat.SDKAppID:
		f.Text, f.Do = fmt.Sprintf("it is of app %d, not of %d", claims.SDKAppID, conn.chat.SDKAppID), "make one for --sdkappid, or give the secret key instead"
	case claims.Identifier != conn.chat.Identifier:
		f.Text, f.Do = fmt.Sprintf("it is of %s, not of %s", brief(claims.Identifier), conn.chat.Identifier), "make one for --identifier, or give the secret key instead"
	case left <= 0:
		f.Text, f.Do = fmt.Sprintf("it has expired %s ago", -left), "make a new one, or give the secret key: signatures made with that are renewed"
	default:
		f.State, f.Text = stateOK, fmt.Sprintf("of %s of app %d, for another %s", claims.Identifier, claims.SDKAppID, left)
	}
	c.note(f)
}

// way notes how far the call came on its way.
func (c *checkup) way(conn *connection, a *probe) {
	a.wire.mu.Lock()
	defer a.wire.mu.Unlock()
	if conn.isSim() {
		c.ok("endpoint", "the simulator in this process")
		return
	}
	u, err := url.Parse(conn.chat.Endpoint)
	if err != nil || a.wire.peer == "" {
		return // noAnswer says why
	}
	by := ""
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err == nil && proxy != nil {
		by = " by the proxy " + proxy.Host
	}
	c.ok("endpoint", fmt.Sprintf("%s%s: connected to %s in %s", u.Host, by, a.wire.peer, millis(a.wire.connecting)))
	switch s := a.wire.tls; {
	case u.Scheme != "https":
		c.ok("tls", "none, and none is needed: it is this host")
	case s != nil:
		c.ok("tls", tls.VersionName(s.Version)+certificates(s.PeerCertificates))
	}
}

// certificates describes the certificate that a server has shown.
func certificates(shown []*x509.Certificate) string {
	if len(shown) == 0 {
		return ""
	}
	cert := shown[0]
	day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	return fmt.Sprintf(", certificate by %q, %s to %s", cmp.Or(cert.Issuer.CommonName, cert.Issuer.String()), day(cert.NotBefore), day(cert.NotAfter))
}

// millis is a time as people read it.
func millis(d time.Duration) string {
	if d < time.Millisecond {
		return "less than 1ms"
	}
	return d.Round(time.Millisecond).String()
}

// noAnswer notes why there is no answer of the Chat API.
func (c *checkup) noAnswer(a *probe, te *chat.TransportError) {
	rule := chat.Judge(te)
	f := finding{State: stateFailed, Text: lost(te), Do: rule.Hint, exit: exitTryLater}
	if rule.Verdict == chat.StopRun {
		f.exit = exitRefused
	}
	f.Name = c.stage(a, te)
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](te.Err); ok {
		f.Text += certificates(bad.UnverifiedCertificates)
	}
	if _, backup, ok := chat.Domain(c.region); ok && backup != "" && te.Reason == chat.ReasonDNS {
		f.Do += "; or try the vendor's second name: --endpoint https://" + backup
	}
	c.note(f)
}

// lost says in words why no answer came.
func lost(te *chat.TransportError) string {
	why := ""
	if te.Err != nil {
		why = ": " + te.Err.Error()
	}
	switch te.Reason {
	case chat.ReasonDNS:
		return "the name does not resolve" + why
	case chat.ReasonConnect:
		return "no connection" + why
	case chat.ReasonTLS:
		return "no TLS" + strings.Replace(why, ": tls: ", ": ", 1)
	case chat.ReasonTimeout:
		return cmp.Or(strings.TrimPrefix(why, ": "), te.Reason)
	case chat.ReasonReset:
		return "the connection was reset" + why
	case chat.ReasonEOF:
		return "the connection ended before the answer did" + why
	case chat.ReasonStatus:
		return fmt.Sprintf("HTTP status %d", te.Status) + why
	case chat.ReasonRedirect:
		return fmt.Sprintf("it redirects (%d)", te.Status) + why
	case chat.ReasonNotJSON:
		return "what answers is not the Chat API" + why
	}
	return te.Reason + why
}

// stage is the part of the way at which a call was lost.
func (c *checkup) stage(a *probe, te *chat.TransportError) string {
	a.wire.mu.Lock()
	defer a.wire.mu.Unlock()
	opening := a.wire.tls == nil && !strings.HasPrefix(c.endpointText(), "http://")
	switch {
	case te.Reason == chat.ReasonDNS, te.Reason == chat.ReasonConnect, a.wire.peer == "":
		return "endpoint"
	case opening && te.Reason == chat.ReasonStatus:
		return "proxy"
	case opening:
		return "tls"
	}
	return "answer"
}

// Clocks that differ by less are as good as equal, and by less than that no matter.
const (
	clockEqual = 2 * time.Second
	clockFair  = time.Minute
)

// clock notes how this host's clock differs from the server's: a signature is valid for
// some time of the host that has made it.
func (c *checkup) clock(a *probe) {
	behind, known := a.wire.behind()
	if !known {
		return
	}
	f := finding{Name: "clock", State: stateOK, Behind: behind.Round(100 * time.Millisecond).Seconds()}
	off := behind.Abs().Round(time.Second)
	switch {
	case off < clockEqual:
		f.Text = "as the server's"
	case behind > 0:
		f.Text = fmt.Sprintf("%s behind the server's", off)
	default:
		f.Text = fmt.Sprintf("%s ahead of the server's", off)
	}
	if off >= clockFair {
		f.State, f.Do = stateWarning, "set this host's clock (NTP): a signature made here is valid for 24 hours of this clock's time"
	}
	if expired := chat.CodeOf(a.err) == 70001; expired && behind > clockFair {
		f.State, f.exit = stateFailed, exitRefused
	}
	c.note(f)
}

// permissionCodes are refusals of an app, or of this host, that is known.
func permissionCodes() []chat.Code {
	return []chat.Code{10026, 10059, 60016, 60017, 60020, 60021, 70051, 70114, 70398}
}

// regionCodes are those that a server answers that does not know the app: it may be that
// of another region.
func regionCodes() []chat.Code { return []chat.Code{60006, 70016, 70020} }

// answer notes what the server's answer says of us.
func (c *checkup) answer(conn *connection, a *probe) {
	e, refused := errors.AsType[*chat.Error](a.err)
	if a.err != nil && !refused {
		// No turn was to be had, or nothing could be signed.
		c.note(finding{Name: "budget", State: stateFailed, Text: cleanText(c.flags, a.err), exit: exitTryLater})
		return
	}
	if refused && c.refusal(e) {
		return
	}
	text := fmt.Sprintf("app %d knows %s", conn.chat.SDKAppID, conn.chat.Identifier)
	if !conn.isSim() {
		s := secretsOf(c.flags, c.w.getenv)[0]
		text += fmt.Sprintf(", by the %s of %s", s.Name, s.From)
	}
	if a.took > 0 {
		text += ", and answers in " + millis(a.took)
	}
	c.ok("credentials", text)
	c.groupFound(a, e)
}

// refusal notes a refusal, and says whether it is one of us: that the group is not known
// is none.
func (c *checkup) refusal(e *chat.Error) bool {
	rule := chat.Rule(e.Code)
	f := finding{Name: "credentials", State: stateFailed, Code: int(e.Code), Do: rule.Hint, exit: exitRefused}
	f.Text = fmt.Sprintf("%s (code %d)", rule.Meaning, e.Code)
	if e.Info != "" {
		f.Text = fmt.Sprintf("%s (code %d: %s)", rule.Meaning, e.Code, e.Info)
	}
	heals := rule.Verdict == chat.Retry || rule.Verdict == chat.Slow
	switch {
	case rule.Then == chat.StopRun || rule.Canary == chat.StopRun:
		if slices.Contains(permissionCodes(), e.Code) {
			f.Name = "permission"
		}
		if slices.Contains(regionCodes(), e.Code) && c.region != "" {
			f.Do += fmt.Sprintf("; asked was %s of %s", c.region, strings.Join(chat.Regions(), " "))
		}
	case rule.Verdict == chat.Slow:
		f.Name, f.exit, f.Do = "answer", exitTryLater, "try again later: others spend the budget of this app; --qps and --share leave them their part"
	case heals && rule.Class == chat.ClassServerError:
		f.Name, f.exit, f.Do = "answer", exitTryLater, "try again later: the fault is the server's"
	case heals:
		f.Name, f.Do = "answer", "this code is not known here: read what the server says about it"
	default:
		return false
	}
	c.note(f)
	return true
}

// groupFound notes what is known of the group that was asked for. That nobody's group is
// not there is right.
func (c *checkup) groupFound(a *probe, e *chat.Error) {
	var g chat.GroupInfo
	if i := slices.IndexFunc(a.groups, func(g chat.GroupInfo) bool { return g.ID == cmp.Or(c.group, nobodysGroup) }); i >= 0 {
		g = a.groups[i]
	}
	e = cmp.Or(e, g.Err)
	switch {
	case e != nil && (c.group != "" || chat.Rule(e.Code).Class == chat.ClassNoPermission):
		f := finding{Name: "group", State: stateFailed, Code: int(e.Code), exit: exitFailed, Text: fmt.Sprintf("%s: %s (code %d)", c.group, chat.Rule(e.Code).Meaning, e.Code)}
		if c.group == "" {
			f.Name, f.State, f.Text = "permission", stateWarning, fmt.Sprintf("%s may not ask for groups (code %d)", c.identifier, e.Code)
			f.Do = "unread set needs --check-groups=false then"
		}
		c.note(f)
	case c.group == "":
	case g.Type == "":
		c.note(finding{Name: "group", State: stateFailed, exit: exitFailed, Text: c.group + ": the server says nothing of it"})
	default:
		text := fmt.Sprintf("%s is of type %s", c.group, g.Type)
		if g.MemberNum >= 0 {
			text += fmt.Sprintf(", with %d members", g.MemberNum)
		}
		c.ok("group", text)
	}
}
