package limiter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"chatbatch/limiter/pgtest"
)

func TestPostgresMigrate(t *testing.T) {
	s := pgtest.Start(t)
	t.Run("side by side", func(t *testing.T) { testPGMigrateTogether(t, s) })
	t.Run("where", func(t *testing.T) { testPGMigrateWhere(t, s) })
	t.Run("rights", func(t *testing.T) { testPGMigrateRights(t, s) })

	for comment, want := range map[string]string{
		"'chatbatch lanes v2: new'":  "use a newer chatbatch",
		"'chatbatch lanes v99'":      "use a newer chatbatch",
		"'chatbatch lanes v0'":       "does not say",
		"'chatbatch lanes vx'":       "does not say",
		"'lanes of another program'": "does not say",
		"NULL":                       "does not say",
	} {
		t.Run(comment, func(t *testing.T) {
			url := pgMigrated(t, s)
			pgMustStore(t, pgOpened(t, url), "app", 0, pgTwoHosts(), true)
			pgtest.SQL(t, url, `COMMENT ON TABLE chatbatch_lanes IS `+comment)
			changed, err := Migrate(pgWithin(t, pgAmple), url)
			_, err2 := pgOpened(t, url).load(pgWithin(t, pgAmple), "app")
			_, err3 := InspectFleet(pgWithin(t, pgAmple), url)
			for _, err := range []error{err, err2, err3} {
				if changed || err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, ErrNotMigrated) {
					t.Errorf("%v, %v, want an error that says %q", changed, err, want)
				}
			}
			if n := pgtest.SQL(t, url, `SELECT count(*) FROM chatbatch_lanes`)[0]; n != "1" {
				t.Errorf("%s rows are left, want 1", n)
			}
		})
	}
}

func testPGMigrateTogether(t *testing.T, s *pgtest.Server) {
	for range 5 {
		url := pgEmpty(t, s)
		made := pgtest.Contest(t, 8, func(int) (bool, error) { return Migrate(pgWithin(t, pgAmple), url) })
		if made != 1 {
			t.Errorf("%d of 8 have made the table, want 1", made)
		}
		if changed, err := Migrate(pgWithin(t, pgAmple), url); changed || err != nil {
			t.Errorf("once more: %v, %v", changed, err)
		}
		pgMustStore(t, pgOpened(t, url), "app", 0, pgTwoHosts(), true)
	}
}

// The table is made in the first schema of the search path, and one that is seen
// elsewhere on it is used.
func testPGMigrateWhere(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	_, name, _ := strings.Cut(url, "search_path=")
	want := name + "|chatbatch lanes v1: which host may use which part of a budget"
	got := pgtest.SQL(t, s.URL(), `SELECT relnamespace::regnamespace, obj_description(oid, 'pg_class') FROM pg_class
		WHERE relname = 'chatbatch_lanes' AND relnamespace = '`+name+`'::regnamespace`)
	if len(got) != 1 || got[0] != want {
		t.Errorf("tables: %q, want %q", got, want)
	}
	other := pgEmpty(t, s)
	_, second, _ := strings.Cut(other, "search_path=")
	if changed, err := Migrate(pgWithin(t, pgAmple), other+","+name); changed || err != nil {
		t.Errorf("%s before %s: %v, %v", second, name, changed, err)
	}
	if changed, err := Migrate(pgWithin(t, pgAmple), other+"&default_transaction_read_only=on"); err == nil {
		t.Errorf("a setting that is not known: %v", changed)
	}
	if _, err := Migrate(pgWithin(t, pgAmple), s.URL()+"&search_path=nowhere"); err == nil || !strings.Contains(err.Error(), "search_path") {
		t.Errorf("no schema: %v", err)
	}
}

// CREATE on the schema is all that is needed, and is named if it is missing.
func testPGMigrateRights(t *testing.T, s *pgtest.Server) {
	url := pgEmpty(t, s)
	_, schema, _ := strings.Cut(url, "search_path=")
	pgtest.SQL(t, url, fmt.Sprintf(`CREATE ROLE builder LOGIN; GRANT USAGE ON SCHEMA %s TO builder`, schema))
	as := strings.Replace(url, "postgres@", "builder@", 1)
	_, err := Migrate(pgWithin(t, pgAmple), as)
	judge(t, err, nil, "CREATE on the schema")
	pgtest.SQL(t, url, `GRANT CREATE ON SCHEMA `+schema+` TO builder`)
	if changed, err := Migrate(pgWithin(t, pgAmple), as); !changed || err != nil {
		t.Errorf("with CREATE: %v, %v", changed, err)
	}
	pgMustStore(t, pgOpened(t, as), "app", 0, pgTwoHosts(), true)
}
