package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"chatbatch/io/chat/chatsim"
)

func simCommand(w world) *cobra.Command {
	var addr, scenario string
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Serve the built-in Chat API over HTTP, to rehearse against",
		Long: `Serve the built-in Chat API over HTTP, to rehearse against.

Without a scenario every group exists, every account is online in it, and the
quota is 200 calls a second. A scenario (YAML) names groups, members, who is
offline, accounts that spoil a call, the quota, and faults; see
testdata/scenarios in the source. It serves until it is interrupted and then
says what it has seen.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := completeFlags(cmd, w); err != nil {
				return err
			}
			sim, _, err := newSimulator(cmd.Context(), scenario, chatsim.Scenario{Open: true})
			if err != nil {
				return err
			}
			return serve(cmd.Context(), w, addr, sim)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8410", "address to listen on")
	cmd.Flags().StringVar(&scenario, "scenario", "", "YAML file; see above")
	return cmd
}

// newSimulator makes a Chat API of the scenario file called name, or of otherwise
// if there is no name.
func newSimulator(ctx context.Context, name string, otherwise chatsim.Scenario) (*chatsim.Sim, chatsim.Scenario, error) {
	sc := otherwise
	if name != "" {
		text, err := readSmall(ctx, name, nil, maxScenario)
		switch {
		case ctx.Err() != nil:
			return nil, sc, context.Cause(ctx)
		case err != nil:
			return nil, sc, usage("read scenario: %w", err)
		}
		if err := yaml.Unmarshal(text, &yaml.Node{}); err != nil {
			return nil, sc, usage("%s: %w", name, notYAML(text, err))
		}
		if sc, err = chatsim.Parse(bytes.NewReader(text)); err != nil {
			return nil, sc, usage("%s: %w", name, err)
		}
	}
	sim, err := chatsim.New(sc)
	if err != nil {
		return nil, sc, usage("scenario: %w", err)
	}
	return sim, sc, nil
}

// maxScenario is most bytes of a scenario: 100,000 members with names fit.
const maxScenario = 16 << 20

// serve answers until ctx ends.
func serve(ctx context.Context, w world, addr string, sim *chatsim.Sim) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return usage("listen: %w", err)
	}
	srv := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	fmt.Fprintf(w.stderr, "Chat API simulator on http://%s; use it with --endpoint http://%s\n", l.Addr(), l.Addr())
	select {
	case err := <-served:
		return usage("serve: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := srv.Shutdown(closing); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop serving: %w", err)
	}
	seen(w, sim.Counts())
	return nil
}

// seen prints what a simulator has counted.
func seen(w world, c chatsim.Counts) {
	fmt.Fprintf(w.stdout, "calls %d, at most %d in one second\n", c.Calls, c.MaxInOneSecond)
	for _, name := range slices.Sorted(maps.Keys(c.ByCommand)) {
		fmt.Fprintf(w.stdout, "  %s %d\n", name, c.ByCommand[name])
	}
	for _, code := range slices.Sorted(maps.Keys(c.ByCode)) {
		fmt.Fprintf(w.stdout, "  code %d: %d\n", code, c.ByCode[code])
	}
}
