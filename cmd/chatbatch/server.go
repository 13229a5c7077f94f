package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/adrg/xdg"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/jobs"
	"chatbatch/limiter"
)

// simEndpoint stands in a run's record for the simulator inside the process.
const simEndpoint = "sim:"

// signatureLife is how long a signature of ours is valid; it is renewed at
// 80 % of that.
const signatureLife = 24 * time.Hour

// A connection is the API as a run uses it, and the pace at which it may.
type connection struct {
	name    string // of the endpoint, in a run's record
	chat    *chat.Client
	renew   func(stale string)
	limiter *limiter.Limiter
	front   jobs.Front
}

func (c *connection) close() error {
	c.chat.HTTP.CloseIdleConnections() // a command that holds schedules makes one after the other
	return c.limiter.Close()
}

// isSim says that the API is the simulator in this process.
func (c *connection) isSim() bool { return strings.HasPrefix(c.name, simEndpoint) }

// where returns the endpoint that the flags mean.
func (o *server) where() (string, error) {
	switch {
	case o.sim || o.simScenario != "":
		if o.endpoint != "" || o.region != "" {
			return "", usage("--sim goes without --endpoint and --region")
		}
		if o.simScenario == "" {
			return simEndpoint, nil
		}
		name, err := filepath.Abs(o.simScenario) // a run may be resumed from anywhere
		if err != nil {
			return "", usage("find scenario: %w", err)
		}
		return simEndpoint + name, nil
	case o.endpoint != "" && o.region != "":
		return "", usage("give --endpoint or --region, not both")
	case o.endpoint != "":
		return strings.TrimRight(o.endpoint, "/"), nil
	case o.region != "":
		domain, _, ok := chat.Domain(o.region)
		if !ok {
			return "", usage("--region %q: it is one of %s", o.region, strings.Join(chat.Regions(), " "))
		}
		return "https://" + domain, nil
	}
	return "", usage("say where the app lives: --region (%s), --endpoint URL, or --sim to try it without a server", strings.Join(chat.Regions(), " "))
}

// connect makes the client for a run on endpoint, and its limiter. doing is what
// others see of this process who look at the limiter.
func (j *job) connect(ctx context.Context, doing, endpoint string) (*connection, error) {
	c, err := j.client(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	if c.limiter, err = j.newLimiter(ctx, doing, c.chat, c.isSim()); err != nil {
		return nil, err
	}
	return c, nil
}

// client makes a connection that has no limiter yet.
func (j *job) client(ctx context.Context, endpoint string) (*connection, error) {
	c := &connection{name: endpoint, chat: &chat.Client{
		Endpoint: endpoint, SDKAppID: j.sdkAppID, Identifier: j.identifier, Timeout: j.timeout,
	}}
	scenario, sim := strings.CutPrefix(endpoint, simEndpoint)
	var err error
	if sim {
		err = j.useSimulator(ctx, c, scenario)
	} else {
		err = j.useServer(c, j.w)
	}
	if err != nil {
		return nil, err
	}
	if err := c.chat.Check(); err != nil {
		return nil, usage("%w", err)
	}
	return c, nil
}

// useSimulator puts a Chat API into the process.
func (o *options) useSimulator(ctx context.Context, c *connection, scenario string) error {
	sim, sc, err := newSimulator(ctx, scenario, chatsim.Scenario{
		Open: true, QPS: o.qps, QPSScope: o.qpsScope, Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	c.chat.Endpoint = "https://simulator.invalid"
	c.chat.HTTP = &http.Client{Transport: sim}
	if c.chat.SDKAppID == 0 {
		c.chat.SDKAppID = max(sc.SDKAppID, 1)
	}
	if c.chat.Identifier == "" {
		if c.chat.Identifier = sc.Identifier; sc.Identifier == "" {
			c.chat.Identifier = "administrator"
		}
	}
	key := sc.SecretKey
	if key == "" {
		key = "simulator"
	}
	signer := chat.NewKeySigner(c.chat.SDKAppID, c.chat.Identifier, key, signatureLife)
	c.chat.Signer, c.renew = signer, signer.Renew
	return nil
}

// useServer finds the credentials for a real server.
func (o *options) useServer(c *connection, w world) error {
	if o.sdkAppID <= 0 {
		return usage("--sdkappid is missing: it is the number of your app in the Chat console")
	}
	if o.identifier == "" {
		return usage("--identifier is missing: it is the account of an App admin, e.g. administrator")
	}
	c.chat.HTTP = chat.NewHTTPClient(o.workers)
	if sig := w.getenv("CHATBATCH_USERSIG"); sig != "" {
		c.chat.Signer = chat.FixedSig(sig)
		return nil
	}
	key, err := o.secretKey(w.getenv)
	if err != nil {
		return err
	}
	signer := chat.NewKeySigner(o.sdkAppID, o.identifier, key, signatureLife)
	c.chat.Signer, c.renew = signer, signer.Renew
	return nil
}

// secretKey is never a flag: arguments can be read by everybody on the host.
func (o *server) secretKey(getenv func(string) string) (string, error) {
	if o.keyOf != "" {
		return o.secretKeyOf(o.keyOf, getenv)
	}
	if key := strings.TrimSpace(getenv("CHATBATCH_SECRET_KEY")); key != "" {
		return key, nil
	}
	name, given := o.keyFile, true
	if name == "" {
		dir := getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return "", usage("no credentials: set CHATBATCH_SECRET_KEY, or --secret-key-file, or CHATBATCH_USERSIG for a ready signature")
		}
		name, given = filepath.Join(dir, "chatbatch_secret_key"), false
	}
	return readPrivate("secret key", name, given)
}

// readPrivate reads a secret from a file that only its owner can read. One that was
// not given is from systemd's CREDENTIALS_DIRECTORY, and private by its
// directory.
func readPrivate(what, name string, given bool) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", usage("read %s: %w", what, err)
	}
	if given && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", usage("read %s: %s can be read by others (mode %#o); run: chmod 600 %s", what, name, info.Mode().Perm(), name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", usage("read %s: %w", what, err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", usage("read %s: %s is empty", what, name)
	}
	return secret, nil
}

// stateDir is where runs and lanes are kept when nothing else is said. For a user
// without a home there is none: the root of the file system, or wherever the command is
// given, would be another place for each.
func stateDir(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "chatbatch"), nil
	}
	if runtime.GOOS == "windows" || filepath.IsAbs(getenv("HOME")) {
		return filepath.Join(xdg.StateHome, "chatbatch"), nil
	}
	// Services may be started without a HOME. They must have no budget of their own
	// beside that of the same user's other processes.
	if u, err := user.Current(); err == nil && runtime.GOOS != "darwin" && filepath.IsAbs(u.HomeDir) {
		return filepath.Join(u.HomeDir, ".local", "state", "chatbatch"), nil
	}
	return "", errors.New("neither HOME nor XDG_STATE_HOME is set to an absolute path")
}

// runsIn is the directory of the runs.
func runsIn(dir string, getenv func(string) string) (string, error) {
	if dir == "" {
		state, err := stateDir(getenv)
		if err != nil {
			return "", usage("find the directory of the runs: %w; set one of them, or give --runs-dir", err)
		}
		return filepath.Join(state, "runs"), nil
	}
	if abs, err := filepath.Abs(dir); err == nil {
		return abs, nil // what is printed can be pasted anywhere
	}
	return dir, nil
}

// door makes the one way to the API for the calls of a run.
func (o *options) door(c *connection, meter *jobs.Meter) *jobs.Door {
	retry := jobs.DefaultRetry()
	retry.Max, retry.MaxElapsed = o.retries, o.retryMaxElapsed
	return &jobs.Door{Limiter: c.limiter.Queue(), Retry: retry, Renew: c.renew, Meter: meter, Front: &c.front}
}
