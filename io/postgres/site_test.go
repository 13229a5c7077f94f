package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// secretPart is in every password of the tests, and nowhere else.
const secretPart = "hunterZ2"

var errNotReady = errors.New("run the migration")

// use is what the tests want of a database.
var use = Use{Table: "chairs", NotReady: errNotReady, Rights: "to count chairs: SELECT on the table chairs"}

// deadURL fails to connect in every way that there is and checks that nothing that is said
// says the secret.
func deadURL(t *testing.T, text string) (usable bool) {
	t.Helper()
	cfg, err := Parse(text)
	if err != nil {
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secretPart) {
			t.Errorf("of %q: %v", text, err)
		}
		return false
	}
	at := SiteOf(cfg, use)
	said := []any{at, at.Explain(t.Context(), &pgconn.PgError{Code: "XX000", Message: fmt.Sprint(cfg.User, cfg.Database, cfg.RuntimeParams)})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	connect := func() {
		_, err := pgconn.ConnectConfig(ctx, Fairly(ctx, cfg))
		if err == nil {
			t.Fatalf("of %q: there is a connection", text)
		}
		said = append(said, at.Explain(ctx, err))
	}
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	cfg.DialFunc = func(_ context.Context, network, addr string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("no " + addr + " of " + cfg.User)}
	}
	connect()
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	connect()
	for _, what := range said {
		if text2 := fmt.Sprintf("%v %+v", what, what); strings.Contains(text2, secretPart) {
			t.Errorf("of %q: %s", text, text2)
		}
	}
	return true
}

func TestURLs(t *testing.T) {
	for _, test := range []struct {
		url    string
		usable bool
	}{
		{"postgres://jobs:" + secretPart + "@db/chat", true},
		{"postgresql://jobs:" + secretPart + "@db:5432,db2:5433/chat?sslmode=disable&target_session_attrs=read-write", true},
		{"postgres://jobs:%2F%40" + secretPart + "@db/chat", true},
		{"postgres://jobs:#" + secretPart + "?@[::1]:5432/chat", true},
		{"postgres://db/chat?password=" + secretPart + "&search_path=x", true},
		{"host=db user=jobs password=" + secretPart, true},
		{"host=db user=jobs password='a b" + secretPart + `\''`, true},
		{"host='/tmp' password=" + secretPart, true},
		{`host=db user=jobs\ password=` + secretPart, true}, // a user of a strange name
		{"postgres://jobs:12/" + secretPart + "@db/chat", false},
		{"postgres://jobs:a@" + secretPart + "@db/chat", false},
		{"postgres://jobs:12/a?b=" + secretPart + "@db/chat", false},
		{"postgres://jobs:" + secretPart, false},
		{"postgres://jobs:%zz" + secretPart + "@db/chat", false},
		{"postgres://jobs:" + secretPart + "@db:port/chat", false},
		{"postgres://jobs:" + secretPart + "@db:1,db:2,db:3,db/chat?port=1,2", false},
		{"postgres://jobs:" + secretPart + "@db/chat?sslmode=sometimes", false},
		{"postgres://jobs:" + secretPart + "@db/chat?sslmode=verify-full&sslrootcert=/" + secretPart, false},
		{"postgres://jobs:" + secretPart + "@db/chat?target_session_attrs=some", false},
		{"postgres://jobs:" + secretPart + "@db/chat?connect_timeout=soon", false},
		{"postgres://jobs:" + secretPart + "@db/chat?service=none", false},
		{"postgres://db/chat?passwd=" + secretPart, false},
		{"postgres://db/chat?password=a&" + secretPart, false},
		{"postgres://db/chat?password=a&" + secretPart + "=b", false},
		{"http://jobs:" + secretPart + "@db/chat", false},
		{"postgres:/jobs:" + secretPart + "@db/chat", false},
		{"jobs:" + secretPart + "@db/chat?sslmode=disable", false},
		{"host=db password=a " + secretPart + "=b", false},
		{"host=db password=a " + secretPart, false},
		{"host=db password='a''" + secretPart + "' user=x", false},
		{"host=db pwd=" + secretPart, false},
		{"postgres://jobs:\x00" + secretPart + "@db/chat", false},
		{secretPart, false},
	} {
		if got := deadURL(t, test.url); got != test.usable {
			t.Errorf("%q: usable %v, want %v", test.url, got, test.usable)
		}
	}
}

func TestURLErrorsHelp(t *testing.T) {
	for text, want := range map[string]string{
		"mysql://db/chat":                              "does not begin with postgres://",
		"postgres://jobs:a@b@db/chat":                  "%40",
		"postgres://db:x/chat":                         "port",
		"postgres://db/chat?target_session_attrs=none": "read-write",
		"postgres://db/chat?sslmode=none":              "sslmode",
		"postgres://db/chat?keepalives=1":              "search_path",
		"host=db user":                                 "key=value",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to say %q", text, err, want)
		}
	}
}

// What is shown of an address has no more than names; a part of a password that was taken
// for one has other signs as a rule.
func TestSites(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://jobs:x@db:5433/chat":                       "PostgreSQL at db:5433, database chat, user jobs",
		"postgres://jobs:x@db":                                 "PostgreSQL at db:5432, database jobs, user jobs",
		"host=db,db2 port=1,2 user=jobs dbname=chat":           "PostgreSQL at db:1,db2:2, database chat, user jobs",
		"postgres://jobs@[::1]:5432/chat?sslmode=prefer":       "PostgreSQL at [::1]:5432, database chat, user jobs",
		"host=/run/pg user=jobs dbname=chat":                   "PostgreSQL at /run/pg:5432, database chat, user jobs",
		"postgres://jobs@db/%E8%81%8A%E5%A4%A9":                "PostgreSQL at db:5432, database 聊天, user jobs",
		"postgres://jo%20bs:x@db/chat":                         "PostgreSQL at db:5432, database chat, user (not shown)",
		"postgres://jobs:x@db/a%24b":                           "PostgreSQL at db:5432, database (not shown), user jobs",
		"postgres://jobs@db/" + strings.Repeat("a", 256) + "?": "PostgreSQL at db:5432, database (not shown), user jobs",
	} {
		cfg, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := SiteOf(cfg, use).String(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// The server is told who asks, unless the user has said so.
func TestApplicationName(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://db/chat": "chatbatch", "postgres://db/chat?application_name=night": "night",
	} {
		cfg, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.RuntimeParams["application_name"]; got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// The second server has its turn also where the first is silent.
func TestFairly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name, url string
			within    time.Duration // 0: no deadline
			want      time.Duration // for each
		}{
			{"two of a deadline", "postgres://a,b/chat", 4 * time.Second, 2 * time.Second},
			{"two ports of a host", "postgres://a:1,a:2/chat", 4 * time.Second, 2 * time.Second},
			{"one, tried without TLS too", "postgres://a/chat?sslmode=prefer", 4 * time.Second, 4 * time.Second},
			{"no deadline", "postgres://a,b/chat?sslmode=disable", 0, hostTime},
			{"the user's own bound", "postgres://a,b/chat?connect_timeout=1", 4 * time.Second, time.Second},
		} {
			cfg, err := Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := t.Context(), func() {}
			if tt.within > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.within)
			}
			cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{"127.0.0.1"}, nil }
			fair := Fairly(ctx, cfg)
			for _, a := range addresses(cfg) {
				if _, err := fair.LookupFunc(ctx, a.host); err != nil {
					t.Fatal(err)
				}
			}
			if fair.ConnectTimeout != tt.want || cfg.ConnectTimeout == fair.ConnectTimeout && cfg.ConnectTimeout != time.Second {
				t.Errorf("%s: got %v, want %v; of the original: %v", tt.name, fair.ConnectTimeout, tt.want, cfg.ConnectTimeout)
			}
			cancel()
		}
	})
}

// Wherever a password may have strange signs, and whatever follows it.
func FuzzPassword(f *testing.F) {
	for _, sign := range []string{"", "@", "/", ":", "?", "#", "%", "&", "=", " ", "'", `\`, ",", "[", "]", "@@/", "\x00", "%40", "?a=b&c", "é", "1/", "/?x="} {
		f.Add(sign, "@db/chat")
		f.Add(sign, " host=db user=jobs")
		f.Add("1"+sign, "@db,db:1/chat?sslmode=disable&password=b"+sign)
		f.Add(sign, "")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(after, secretPart) || strings.Contains(before, secretPart) {
			t.Skip()
		}
		for _, text := range []string{
			"postgres://jobs:" + before + secretPart + "@" + after,
			"postgres://jobs:" + before + secretPart + after + "@db",
			"postgres://jobs:" + url.QueryEscape(before) + secretPart + "@" + after,
			"jobs:" + before + secretPart + after,
			"host=db password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(before) + secretPart + "'" + after,
		} {
			deadURL(t, text)
		}
		if !strings.ContainsAny(before, " \t\r\n\v\f\\'") {
			deadURL(t, "host=db password="+before+secretPart+after)
		}
		if !strings.Contains(before, "&") {
			deadURL(t, "postgres://db/chat?password="+before+secretPart+after)
		}
	})
}
