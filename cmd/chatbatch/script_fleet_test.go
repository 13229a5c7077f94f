package main

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"chatbatch/io/ledger"
	"chatbatch/limiter/pgtest"
)

// TestScriptFleet plays the pages in testdata/script/fleet, each with a database of
// its own in one PostgreSQL: $DATABASE is its address, $RUNNER and $KEEPER those of
// users who have no rights there but what a page grants. They may say besides:
//
//	sql STATEMENT       to the database, as its owner
//	away, back          the database cannot be reached; it can again
//	stalled DURATION    the API gets no call for that long
//	kept                $RUN is the newest run of the database, and $DIR the
//	                    directory of its reports on this host
//	kill                SIGKILL to the command in the background
func TestScriptFleet(t *testing.T) {
	server := pgtest.Start(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script/fleet",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			st := &stage{proxy: pgtest.NewProxy(t, server.Addr())}
			var err error
			if st.database, err = newDatabase(t.Context(), server.URL(), filepath.Base(env.WorkDir)); err != nil {
				return err
			}
			env.Setenv("GORACE", goRace)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			address := st.proxy.URL(st.database)
			env.Setenv("DATABASE", strings.Replace(address, "postgres@", "postgres:pass-word@", 1))
			env.Setenv("RUNNER", strings.Replace(address, "postgres@", "fleet_runner@", 1))
			env.Setenv("KEEPER", strings.Replace(address, "postgres@", "fleet_keeper@", 1))
			env.Values[stageKey{}] = st
			return nil
		},
		Cmds: fleetCommands(),
	})
}

func fleetCommands() map[string]scriptCommand {
	all := scriptCommands()
	all["sql"], all["away"], all["back"], all["stalled"] = askSQL, away, back, stalled
	all["kept"], all["kill"] = kept, killed
	return all
}

// newDatabase makes an empty database and returns its address.
func newDatabase(ctx context.Context, server, name string) (string, error) {
	name = strings.ReplaceAll(name, "-", "_")
	if err := execSQL(ctx, server, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", err
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

func execSQL(ctx context.Context, database, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func askSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	ts.Check(execSQL(context.Background(), stageOf(ts).database, args[0]))
}

func away(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: away")
	}
	stageOf(ts).proxy.Cut()
}

func back(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: back")
	}
	stageOf(ts).proxy.Heal()
}

func stalled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stalled DURATION, after sim")
	}
	wait, err := time.ParseDuration(args[0])
	ts.Check(err)
	before := stageOf(ts).sim.Counts().Calls
	time.Sleep(wait)
	if more := stageOf(ts).sim.Counts().Calls - before; more > 0 {
		ts.Fatalf("got %d calls within %v", more, wait)
	}
}

func kept(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: kept")
	}
	p, err := ledger.OpenPostgres(context.Background(), ledger.PostgresOptions{URL: stageOf(ts).database})
	ts.Check(err)
	defer p.Close()
	infos, err := p.List(context.Background())
	ts.Check(err)
	if len(infos) == 0 {
		ts.Fatalf("there is no run in the database")
	}
	run := infos[len(infos)-1].Run
	ts.Setenv("RUN", run)
	ts.Setenv("DIR", filepath.Join(ts.Getenv("XDG_STATE_HOME"), "chatbatch", "runs", run))
}

func killed(ts *testscript.TestScript, neg bool, args []string) {
	background := ts.BackgroundCmds()
	if neg || len(args) != 0 || len(background) != 1 {
		ts.Fatalf("usage: kill, with one command in the background")
	}
	ts.Check(background[0].Process.Kill())
}
