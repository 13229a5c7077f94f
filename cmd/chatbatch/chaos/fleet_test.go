//go:build linux

package chaos

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

// A fleet is hosts that work on the run of a deed: processes that share nothing but a
// database, each in a network of its own where that can be made. Each host has another
// identifier, so that the server knows who calls.
type fleet struct {
	*deed
	database *pgtest.Server
	network  *network // nil: hosts are plain processes
	env      []string // of all commands
	hosts    []*host
	slow     time.Duration // that the server takes for an answer
	run      string

	mu      sync.Mutex
	sent    map[string]int // under mu; calls by what they were about: a group, or a group and an account
	of      map[string]int // under mu; calls by host
	settled map[string]int // under mu; calls of what was known to be settled, when that was known
}

// A host is a process of chatbatch work.
type host struct {
	*process
	of   *fleet
	name string

	at *netHost // nil: it is a plain process

	// Of a plain process.
	proxy *pgtest.Proxy // its way to the database
	deaf  atomic.Bool   // the server does not hear it
}

// fleetWorkers is how many calls a host has under way at once.
const fleetWorkers = 4

// newFleet makes a fleet without hosts, in which the deed is done at this pace.
func newFleet(t *testing.T, qps int, begin func(p *place, size int) *deed, size int) *fleet {
	t.Helper()
	f := &fleet{slow: 200 * time.Millisecond, sent: map[string]int{}, of: map[string]int{}, settled: map[string]int{}}
	n, err := newNetwork(t)
	if err != nil {
		t.Logf("hosts are plain processes, since no networks of their own can be made here: %v", err)
		f.database = pgtest.Start(t)
		f.deed = begin(newPlace(t), size)
	} else {
		f.network = n
		f.database = pgtest.Start(t, n.addr(databaseHost))
		f.deed = begin(placeAt(t, n.addr(apiHost)), size)
	}
	f.env = []string{"CHATBATCH_LEDGER=" + f.database.URL(), "CHATBATCH_LIMITER=", fmt.Sprintf("CHATBATCH_QPS=%d", qps)}
	f.command("migrate", "--limiter", f.database.URL()).begin().end().want(t, exitOK)
	f.api.misbehave(f.note)
	return f
}

// placeAt is a place whose Chat API is at an address of this host, by TLS: plain HTTP is
// for loopback alone.
func placeAt(t testing.TB, a netip.Addr) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), api: unstartedServer(t)}
	l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	_ = p.api.Listener.Close() // of the address it had
	var trust []byte
	p.api.Listener = l
	p.api.TLS, trust = certified(t, a)
	p.api.StartTLS()
	p.env = []string{
		"CHATBATCH_ENDPOINT=" + p.api.URL, "CHATBATCH_SECRET_KEY=" + secretKey,
		"SSL_CERT_FILE=" + p.file("trust.pem", string(trust)),
	}
	return p
}

// certified makes a certificate for an address, and what trusts it.
func certified(t testing.TB, a netip.Addr) (c *tls.Config, trust []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{a.AsSlice()},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// command is a command of the fleet, not yet started.
func (f *fleet) command(args ...string) *process {
	c := f.place.command(args...)
	c.Env = append(c.Env, f.env...)
	return c
}

// host adds a host.
func (f *fleet) host(args ...string) *host {
	f.t.Helper()
	h := &host{of: f, name: fmt.Sprintf("host-%d", len(f.hosts)+1)}
	url := ""
	var in *namespace
	if f.network != nil {
		var err error
		if h.at, err = f.network.host(); err != nil {
			f.t.Fatal(err)
		}
		in, url = h.at.namespace, f.database.URLAt(f.network.addr(databaseHost).String())
	} else {
		h.proxy = pgtest.NewProxy(f.t, f.database.Addr())
		url = h.proxy.URL(f.database.URL())
	}
	h.process = f.process(h.name, "CHATBATCH_LEDGER="+url, args...)
	h.in = in
	f.mu.Lock()
	f.hosts = append(f.hosts, h)
	f.mu.Unlock()
	f.t.Cleanup(func() {
		if f.t.Failed() { // it has ended by now
			f.t.Logf("%s said:\n%s", h.name, h.stderr.String())
		}
	})
	h.begin()
	return h
}

// process is a host of this name and with this ledger, not yet started.
func (f *fleet) process(name, ledger string, args ...string) *process {
	c := f.command(append([]string{"work", "--identifier", name, "--workers", fmt.Sprint(fleetWorkers)}, args...)...)
	c.Dir = f.t.TempDir() // of this host alone
	c.Env = append(c.Env, ledger, "HOME="+c.Dir, "XDG_STATE_HOME="+filepath.Join(c.Dir, "state"))
	return c
}

// lose loses all that goes between the host and a server, or comes back, without a word.
func (h *host) lose(server int) {
	switch {
	case h.at != nil:
		h.at.cut(server)
	case server == apiHost:
		h.deaf.Store(true)
	default:
		h.proxy.Hang()
	}
}

// find ends lose.
func (h *host) find(server int) {
	switch {
	case h.at != nil:
		h.at.heal(server)
	case server == apiHost:
		h.deaf.Store(false)
	default:
		h.proxy.Heal()
	}
}

// note counts a call.
func (f *fleet) note(c *call) (handled bool) {
	var about struct {
		GroupID string `json:"GroupId"`
		Account string `json:"Member_Account"`
		Members []struct {
			Account string `json:"Member_Account"`
		} `json:"MemberList"`
	}
	body, _ := json.Marshal(c.body)
	_ = json.Unmarshal(body, &about) // the server has read it
	who := c.query["identifier"][0]
	f.mu.Lock()
	for _, h := range f.hosts {
		if h.name == who && h.deaf.Load() {
			f.mu.Unlock()
			<-c.r.Context().Done()
			return true
		}
	}
	f.of[who]++
	f.sent[strings.TrimSpace(about.GroupID+" "+about.Account)]++
	for _, m := range about.Members {
		f.sent[about.GroupID+" "+m.Account]++
	}
	f.mu.Unlock()
	time.Sleep(f.slow)
	return false
}

// begun submits the deed, and waits until so many calls have come of it.
func (f *fleet) begun(calls int) *process {
	f.t.Helper()
	before := f.api.count()
	p := f.command(append(append([]string{"submit"}, f.args...), "--wait", "--json")...).begin()
	if !p.until(func() bool { return f.api.count() >= before+calls }) {
		f.t.Fatalf("it ended by itself after %d calls:\n%s", f.api.count()-before, p.stderr.String())
	}
	if f.run = f.newest(); f.run == "" {
		f.t.Fatalf("no run is named in\n%s", p.stderr.String())
	}
	return p
}

// newest is the run of the database.
func (f *fleet) newest() string {
	out := f.command("runs", "list", "--json").begin().end().stdout
	var r struct{ Run string }
	_ = json.NewDecoder(strings.NewReader(out)).Decode(&r)
	return r.Run
}

// look looks which rows are settled: they must not be sent again from now on.
func (f *fleet) look() {
	f.t.Helper()
	c := f.command("report", f.run)
	dir := f.t.TempDir()
	c.Env = append(c.Env, "XDG_STATE_HOME="+dir, "CHATBATCH_QUIET=true")
	c.begin().end()
	open := f.namesIn(filepath.Join(dir, "chatbatch", "runs", f.run, "unprocessed.csv"))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range f.namesIn(filepath.Join(f.dir, filepath.Base(f.args[2]))) {
		if _, known := f.settled[name]; !known && !slices.Contains(open, name) {
			f.settled[name] = f.sent[name]
		}
	}
}

// shares are the calls by host.
func (f *fleet) shares() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.of)
}

// again is how many rows have been sent again that were known to be settled.
func (f *fleet) again() (lost int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, calls := range f.settled {
		if f.sent[name] != calls {
			f.t.Errorf("%s was settled after %d calls, and got %d", name, calls, f.sent[name])
			lost++
		}
	}
	return lost
}

// namesIn are the groups, or groups and accounts, in an input of the deed or what is left
// of it.
func (f *fleet) namesIn(name string) (names []string) {
	f.t.Helper()
	file, err := os.Open(name)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	records, err := csv.NewReader(file).ReadAll()
	if err != nil || len(records) == 0 {
		f.t.Fatal(name, err)
	}
	group, account := slices.Index(records[0], "group_id"), slices.Index(records[0], "account")
	for _, r := range records[1:] {
		if account < 0 {
			names = append(names, r[group])
		} else {
			names = append(names, r[group]+" "+r[account])
		}
	}
	return names
}
