package limiter

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"chatbatch/io/postgres"
)

// formName begins the comment of the table, before the number of its form.
const formName = "chatbatch lanes v"

// forms make the table and bring it up to date: forms[i] makes form i+1 of form i.
var forms = []string{
	// Rows are few and change each second. Room on the page lets a new version
	// stand beside the old one (HOT), which whoever comes by then cleans away,
	// without touching the index or waiting for a vacuum. With 50 hosts and 4,000
	// changes the table stays one page of 8 KB; with a fillfactor of 100 it is
	// 2.2 MB then.
	`CREATE TABLE chatbatch_lanes (
	budget text PRIMARY KEY,
	rev bigint NOT NULL,
	roll jsonb NOT NULL,
	changed timestamptz NOT NULL
) WITH (fillfactor = 10)`,
}

// migrateLock is the number of the lock that lets one migration at a time run in a
// database. It was drawn by lot.
const migrateLock = "7309948226133482291"

// migrate makes or upgrades the table.
func (r *pgRegistry) migrate(ctx context.Context) (changed bool, err error) {
	have, err := r.form(ctx)
	if err != nil || have == len(forms) {
		return false, err
	}
	// A pooler keeps one connection for a whole transaction. After an error the
	// connection is given up, and the transaction with it.
	defer func() {
		if err != nil {
			r.drop()
		}
	}()
	for _, sql := range []string{
		`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`,
		`SELECT pg_advisory_xact_lock(` + migrateLock + `)`,
	} {
		if _, err = r.ask(ctx, sql); err != nil {
			return false, err
		}
	}
	if have, err = r.form(ctx); err != nil { // another may have been faster
		return false, err
	}
	for ; have < len(forms); have++ {
		if _, err = r.ask(ctx, forms[have]); err != nil {
			return false, err
		}
		changed = true
	}
	if changed {
		if _, err = r.ask(ctx, fmt.Sprintf(`COMMENT ON TABLE chatbatch_lanes IS '%s%d: which host may use which part of a budget'`, formName, have)); err != nil {
			return false, err
		}
	}
	_, err = r.ask(ctx, `COMMIT`)
	return changed, err
}

// formSQL looks into pg_class although to_regclass knows: only a statement that locks
// a table hears of tables that others have made since the transaction began.
const formSQL = `
SELECT oid IS NOT NULL, obj_description(oid, 'pg_class')
FROM (SELECT) AS one LEFT JOIN pg_class ON oid = to_regclass('chatbatch_lanes')`

// form is that of the table that the connection sees, 0 if there is none.
func (r *pgRegistry) form(ctx context.Context) (int, error) {
	res, err := r.ask(ctx, formSQL)
	if err != nil || string(res.Rows[0][0]) == "f" {
		return 0, err
	}
	return readForm(r.at, res.Rows[0][1])
}

// readForm reads the comment of the table. It is an error if that is not ours, or of
// a newer program.
func readForm(s postgres.Site, comment []byte) (int, error) {
	text, ours := strings.CutPrefix(string(comment), formName)
	number, _, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(number)
	switch {
	case !ours || err != nil || n < 1:
		return 0, s.Say(`the table chatbatch_lanes does not say in its comment that it was made by chatbatch migrate: ` +
			`rename it, or use another database or schema (search_path)`)
	case n > len(forms):
		return 0, s.Say(fmt.Sprintf("the table chatbatch_lanes has form %d, this program knows %d: use a newer chatbatch", n, len(forms)))
	}
	return n, nil
}

// checkForm says whether the table can be used.
func checkForm(s postgres.Site, comment []byte) error {
	n, err := readForm(s, comment)
	if err == nil && n < len(forms) {
		err = s.Say(fmt.Sprintf("%v (the table has form %d, this program needs %d)", ErrNotMigrated, n, len(forms)), ErrNotMigrated)
	}
	return err
}
