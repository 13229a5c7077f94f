package limiter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// childEnv makes the test binary another process: a "counter", a "sender", a
// "holder" or a "burner". The first line of its stdin is what it is told to
// do; at a second line it ends and says on stdout what there was, and when
// stdin ends without one, it ends at once: no child outlives its parent.
const childEnv = "LIMITER_TEST_CHILD"

func TestMain(m *testing.M) {
	role := os.Getenv(childEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := child(role); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		os.Exit(1)
	}
}

func child(role string) error {
	in := bufio.NewReader(os.Stdin)
	orders, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		if _, err := in.ReadByte(); err != nil {
			os.Exit(1)
		}
		stop()
	}()
	switch role {
	case "counter":
		return obey(ctx, orders, route.serve)
	case "sender":
		return obey(ctx, orders, sender.run)
	case "holder":
		return obey(ctx, orders, holder.run)
	case "burner":
		for ctx.Err() == nil {
		}
		return nil
	}
	return errors.New("unknown role")
}

func obey[T any](ctx context.Context, orders []byte, do func(T, context.Context) error) error {
	var told T
	if err := json.Unmarshal(orders, &told); err != nil {
		return err
	}
	return do(told, ctx)
}

// say prints one line for the parent.
func say(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// A wallClock tells the time since 1970, so that parent and children can compare
// theirs, and takes no part in steps of the wall clock once it is made.
type wallClock struct{ start time.Time }

func newWallClock() wallClock { return wallClock{time.Now()} }

func (c wallClock) now() time.Duration {
	return time.Duration(c.start.UnixNano()) + time.Since(c.start)
}

// A holder takes lanes and keeps them.
type holder struct {
	Dir    string
	QPS, N int
}

func (h holder) run(ctx context.Context) error {
	l, err := New(Options{QPS: h.QPS, Key: "app", Lanes: File(h.Dir)})
	if err != nil {
		return err
	}
	for range h.N {
		if _, _, err := l.Take(ctx, ""); err != nil {
			return err
		}
	}
	if err := say("held"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// A process is a child and what it prints.
type process struct {
	*exec.Cmd
	in  io.Writer
	out *json.Decoder
}

func start(tb testing.TB, role string, orders any) *process {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = json.NewEncoder(in).Encode(orders)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &process{cmd, in, json.NewDecoder(out)}
}

// hear reads the next line that the child prints.
func (p *process) hear(tb testing.TB, v any) {
	tb.Helper()
	if err := p.out.Decode(v); err != nil {
		tb.Fatalf("read from child: %v", err)
	}
}

// end tells the child to end. Ask it then what there was.
func (p *process) end(tb testing.TB) {
	tb.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil && !strings.Contains(err.Error(), "closed") {
		tb.Errorf("end child: %v", err)
	}
}

// used waits for the child to be gone and returns the CPU time that it took.
func (p *process) used() time.Duration {
	_ = p.Wait()
	return p.ProcessState.UserTime() + p.ProcessState.SystemTime()
}
