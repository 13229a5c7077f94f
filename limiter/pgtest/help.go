package pgtest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ample is more than any statement takes on a busy machine.
const ample = time.Minute

// SQL runs statements as who url says, and returns the rows of the last one, their cells
// with | between.
func SQL(tb testing.TB, url, text string) (rows []string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), ample)
	defer cancel()
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, text).ReadAll()
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	for _, row := range results[len(results)-1].Rows {
		var cells []string
		for _, c := range row {
			cells = append(cells, string(c))
		}
		rows = append(rows, strings.Join(cells, "|"))
	}
	return rows
}

// Contest does something n times at once and says how many of them have done it; an error
// fails the test.
func Contest(tb testing.TB, n int, do func(i int) (done bool, err error)) (winners int) {
	tb.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range n {
		all.Go(func() {
			done, err := do(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				tb.Error(err)
			}
			if done {
				winners++
			}
		})
	}
	all.Wait()
	return winners
}
