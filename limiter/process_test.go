package limiter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// childEnv makes the test binary a process that uses the limiter instead:
// "load DIR QPS URL WORKERS SECONDS" calls URL and prints how often,
// "hold DIR QPS N" takes N lanes, prints "held" and sleeps.
const childEnv = "LIMITER_TEST_CHILD"

func TestMain(m *testing.M) {
	args := strings.Fields(os.Getenv(childEnv))
	if len(args) == 0 {
		os.Exit(m.Run())
	}
	if err := child(args); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func child(args []string) error {
	num := func(i int) int { n, _ := strconv.Atoi(args[i]); return n }
	l, err := New(Options{QPS: num(2), Key: "app", Lanes: File(args[1])})
	if err != nil {
		return err
	}
	switch args[0] {
	case "hold":
		for range num(3) {
			if _, err := l.Take(context.Background(), ""); err != nil {
				return err
			}
		}
		fmt.Println("held")
		time.Sleep(time.Hour)
		return nil
	case "load":
		n, err := load(context.Background(), args[3], num(4), time.Duration(num(5))*time.Second, lanePace(l))
		fmt.Println(n)
		return errors.Join(err, l.Close())
	}
	return fmt.Errorf("unknown: %q", args)
}

// pace waits until a call may leave, and is told when the attempt has ended.
type pace func(context.Context) (done func(service time.Duration, answered bool), err error)

func lanePace(l *Limiter) pace {
	return func(ctx context.Context) (func(time.Duration, bool), error) { return l.Take(ctx, "") }
}

func bucketPace(b *rate.Limiter) pace {
	return func(ctx context.Context) (func(time.Duration, bool), error) {
		return func(time.Duration, bool) {}, b.Wait(ctx)
	}
}

// load calls url with all workers for d and returns how many answers there were.
func load(ctx context.Context, url string, workers int, d time.Duration, p pace) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	defer transport.CloseIdleConnections()
	c := &caller{client: &http.Client{Transport: transport}, url: url}
	c.connect.Store(int64(time.Hour))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for {
				done, err := p(ctx)
				if err != nil {
					if ctx.Err() == nil && !strings.Contains(err.Error(), "deadline") {
						errs[i] = err
					}
					return
				}
				done(c.call())
			}
		})
	}
	wg.Wait()
	return c.answers.Load(), errors.Join(errs...)
}

type caller struct {
	client  *http.Client
	url     string
	connect atomic.Int64 // the smallest connect time seen
	answers atomic.Int64
}

// call makes one call and measures what the limiter wants to know.
func (c *caller) call() (service time.Duration, answered bool) {
	var dial, wrote time.Time
	trace := &httptrace.ClientTrace{
		ConnectStart: func(string, string) { dial = time.Now() },
		ConnectDone: func(string, string, error) {
			took := int64(time.Since(dial))
			for old := c.connect.Load(); took < old && !c.connect.CompareAndSwap(old, took); old = c.connect.Load() {
			}
		},
		WroteRequest: func(httptrace.WroteRequestInfo) { wrote = time.Now() },
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodPost, c.url, nil)
	if err != nil {
		return 0, false
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil {
		return 0, false
	}
	c.answers.Add(1)
	return time.Since(wrote) - time.Duration(c.connect.Load()), true
}

// A counter is a server that notes when each call arrives and answers later.
type counter struct {
	*httptest.Server
	start time.Time
	mu    sync.Mutex
	times []time.Duration
}

func newCounter(tb testing.TB, latency time.Duration) *counter {
	c := &counter{start: time.Now()}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.times = append(c.times, time.Since(c.start))
		c.mu.Unlock()
		time.Sleep(latency)
		io.WriteString(w, `{"ErrorCode":0}`)
	}))
	var err error
	if c.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	c.Start()
	tb.Cleanup(c.Close)
	return c
}

// seen is the most calls in one second, and the share of n calls a second that
// was used after the first second.
func (c *counter) seen(n int) (worst int, use float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.times) == 0 {
		return 0, 0
	}
	return worstSecond(c.times), useOf(c.times, n, slices.Min(c.times)+time.Second)
}

// A process is a child and what it prints.
type process struct {
	*exec.Cmd
	out *bufio.Reader
}

func start(tb testing.TB, args ...any) *process {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.TrimSpace(fmt.Sprintln(args...)))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &process{cmd, bufio.NewReader(out)}
}

// line is the next line that the child prints.
func (p *process) line(tb testing.TB) string {
	tb.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		tb.Fatalf("read from child: %v", err)
	}
	return strings.TrimSpace(line)
}

// calls waits for a child under load to end.
func (p *process) calls(tb testing.TB) int {
	tb.Helper()
	n, err := strconv.Atoi(p.line(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}
