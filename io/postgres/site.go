// Package postgres is what all who use a PostgreSQL server have in common: they read the
// address that a user has given, say what went wrong without giving a password away,
// and tell what may pass by itself from what will not. It keeps no connections.
package postgres

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// hostTime is how long one of several servers, or one without a deadline, has to
// answer to a new connection.
const hostTime = 10 * time.Second

// serverSettings are what a connection string may set besides what pgx uses
// itself. All else is refused here, as libpq does: it may be a part of a password, or
// "passwd=…", and the server would log it.
var serverSettings = []string{
	"application_name", "client_encoding", "datestyle", "extra_float_digits", "idle_session_timeout",
	"lock_timeout", "options", "role", "search_path", "statement_timeout", "tcp_user_timeout", "timezone",
}

var errURL = errors.New("the connection string of the database cannot be used")

// Parse reads a connection string. What it says of one that it cannot read
// holds nothing of it: where a string is wrong, any part may be the password.
func Parse(url string) (*pgconn.Config, error) {
	uri := strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
	if !uri && strings.Contains(url, "://") && !strings.Contains(url[:strings.Index(url, "://")], "=") {
		return nil, badURL("it does not begin with postgres://")
	}
	if uri && strandedAt(url) {
		return nil, badURL("it has an @ too many: write @ in a password or name as %40, / as %2F, : as %3A")
	}
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, badURL(whyNot(err))
	}
	for name := range cfg.RuntimeParams {
		if !slices.Contains(serverSettings, strings.ToLower(name)) {
			return nil, badURL("it has a setting that is not known; beside those for connecting there are " +
				strings.Join(serverSettings, ", "))
		}
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "chatbatch"
	}
	return cfg, nil
}

func badURL(why string) error {
	return &explained{errURL.Error() + ": " + why + " (want postgres://user:password@host:port/database, or host=… user=…)", nil}
}

// strandedAt says whether a URL has an @ that does not end the user and password. PGX
// would take a part of a password with a / or @ for a host or a database.
func strandedAt(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	return strings.Contains(rest, "@")
}

// whyNot puts into our own words what pgx says: it quotes what it was given.
func whyNot(err error) string {
	said := err.Error()
	for _, w := range []struct{ theirs, ours string }{
		{"invalid port", "a port is not a number from 1 to 65535; a / in a password is written as %2F"},
		{"could not match", "give one port, or as many as hosts"},
		{"target_session_attrs", "target_session_attrs is not any, read-write, read-only, primary, standby or prefer-standby"},
		{"failed to configure TLS", "sslmode is not known, or a file of sslrootcert, sslcert or sslkey cannot be read"},
		{"failed to read service", "the service file cannot be read, or does not have the service"},
		{"connect_timeout", "connect_timeout is not a number of seconds"},
		{"failed to parse as URL", "it is not a URL; in a password all but letters and digits is written as %XX"},
		{"failed to parse as keyword/value", "it is not a list of key=value; quote a value with spaces as 'a b', and write ' as \\'"},
	} {
		if strings.Contains(said, w.theirs) {
			return w.ours
		}
	}
	return "one of its settings has no such value"
}

// Fairly is cfg with the time of ctx divided among the addresses: the second must
// get its turn if the first is silent.
func Fairly(ctx context.Context, cfg *pgconn.Config) *pgconn.Config {
	cfg = cfg.Copy()
	most := cfg.ConnectTimeout
	ports := map[string]map[uint16]bool{} // by host
	for _, a := range addresses(cfg) {
		if ports[a.host] == nil {
			ports[a.host] = map[uint16]bool{}
		}
		ports[a.host][a.port] = true
	}
	lookup, known, n := cfg.LookupFunc, map[string][]string{}, 0
	// pgx looks up all hosts first, one of them twice if it may try without TLS.
	cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		if found, ok := known[host]; ok {
			return found, nil
		}
		found, err := lookup(ctx, host)
		if err != nil {
			return nil, err
		}
		known[host] = found
		n += len(found) * len(ports[host])
		cfg.ConnectTimeout = share(ctx, n, most)
		return found, nil
	}
	cfg.ConnectTimeout = share(ctx, 1, most)
	return cfg
}

// share is the time of each of n servers, no more than most if that is not 0.
func share(ctx context.Context, n int, most time.Duration) time.Duration {
	each := hostTime
	if until, ok := ctx.Deadline(); ok {
		each = max(time.Until(until), time.Millisecond) / time.Duration(n)
	}
	if most > 0 {
		each = min(each, most)
	}
	return each
}

// address is where a server is.
type address struct {
	host string
	port uint16
}

func (a address) String() string { return net.JoinHostPort(a.host, strconv.Itoa(int(a.port))) }

// addresses are those of all servers, each once.
func addresses(cfg *pgconn.Config) []address {
	all := []address{{cfg.Host, cfg.Port}}
	for _, f := range cfg.Fallbacks {
		if a := (address{f.Host, f.Port}); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// A Use says what a program wants of a database, for the words of its errors.
type Use struct {
	Table    string // the one that is missing if none is made yet
	NotReady error  // says so; errors of a table that is not there wrap it
	Rights   string // what rights it takes, e.g. "to use lanes: SELECT on …"
}

// A Site is what may be said of a connection string.
type Site struct {
	use                   Use
	user, database, hosts string

	// odd: a name has signs that names hardly have. It may be part of a
	// password that was not quoted well, and is not shown.
	odd bool

	onlyTLS bool // no connection is made without it
}

// plainName says that a name has only what names usually have. (As a regular
// expression with {0,255} it took 10 MB and 40 ms at each start of the program.)
func plainName(name string) bool {
	return utf8.RuneCountInString(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("_.:,/[]-", r)
	})
}

// SiteOf is what may be said of the address in cfg.
func SiteOf(cfg *pgconn.Config, use Use) Site {
	var hosts []string
	for _, a := range addresses(cfg) {
		hosts = append(hosts, a.String())
	}
	p := Site{use: use, user: cfg.User, database: cfg.Database, hosts: strings.Join(hosts, ","), onlyTLS: cfg.TLSConfig != nil}
	for _, f := range cfg.Fallbacks {
		p.onlyTLS = p.onlyTLS && f.TLSConfig != nil
	}
	if p.database == "" {
		p.database = p.user // as the server does
	}
	shown := func(name string) string {
		if plainName(name) {
			return name
		}
		p.odd = true
		return "(not shown)"
	}
	p.user, p.database, p.hosts = shown(p.user), shown(p.database), shown(p.hosts)
	for value := range maps.Values(cfg.RuntimeParams) {
		p.odd = p.odd || !plainName(value) // for what the server says of it
	}
	return p
}

func (s Site) String() string {
	return "PostgreSQL at " + s.hosts + ", database " + s.database + ", user " + s.user
}
