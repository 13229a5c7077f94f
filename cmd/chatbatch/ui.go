package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"

	"github.com/spf13/pflag"

	"chatbatch/io/ui"
	"chatbatch/limiter"
)

// showing says where the page of the fleet is.
type showing struct {
	uiAddr string
}

func (o *showing) add(fs *pflag.FlagSet) {
	fs.StringVar(&o.uiAddr, "ui", "", "serve a page with the runs, hosts and failures of the ledger, live, on this HOST:PORT; without HOST on 127.0.0.1")
}

// withPage calls do, and shows the fleet meanwhile if that is wanted.
func (j *job) withPage(ctx context.Context, addr, who string, do func() error) error {
	if addr == "" {
		return do()
	}
	page, free, err := j.page(addr, who)
	if err != nil {
		return err
	}
	defer free()
	server, err := j.servePage(ctx, addr, page)
	if err != nil {
		return err
	}
	defer server.close(context.WithoutCancel(ctx))
	return do()
}

// page makes the page of the fleet.
func (j *job) page(addr, who string) (p *ui.Page, free func(), err error) {
	o := ui.Options{Runs: j.store.database, Ledger: j.store.database.String(), Server: who, Names: pageNames(addr)}
	free = func() {}
	database, err := j.who(j.w.getenv)
	if err == nil && isDatabase(database) {
		var look *limiter.Lookout
		if look, err = limiter.NewLookout(database); err == nil {
			o.Budgets = func(ctx context.Context) ([]ui.Budget, error) { return budgetsShown(look.Look(ctx)) }
			free = func() { _ = look.Close() } // it only read
		}
	}
	if err != nil {
		return nil, nil, notOpened(err)
	}
	return ui.New(o), free, nil
}

// pageNames are the names by which the page may be asked for: that of its address, or of
// this host where it is there for all that reach it.
func pageNames(addr string) []string {
	host, _, _ := net.SplitHostPort(addr) // whoever listens says what is wrong with it
	at, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return nil
	case err == nil && at.IsUnspecified():
		return []string{hostName()}
	}
	return []string{host}
}

func budgetsShown(fleet []limiter.FleetBudget, err error) (all []ui.Budget, _ error) {
	for _, b := range fleet {
		shown := ui.Budget{Name: b.Key, Lanes: b.Lanes, Free: b.Free}
		for _, h := range b.Hosts {
			shown.Hosts = append(shown.Hosts, ui.Tenant{
				Name: h.Name, Lanes: h.Lanes, Waiting: h.Waiting, OutOfUse: h.OutOfUse, LeaseEnds: h.LeaseEnds,
			})
		}
		all = append(all, shown)
	}
	return all, err
}

// servePage serves the page until it is closed. It returns when others can ask.
func (j *job) servePage(ctx context.Context, addr string, page http.Handler) (*sideServer, error) {
	s, err := serveBeside(ctx, "ui", addr, "the page of the fleet is", page, j.log)
	if err != nil {
		return nil, err
	}
	j.log.Info("the page of the fleet is at http://" + s.at.String() + "/")
	if at, ok := s.at.(*net.TCPAddr); ok && !at.IP.IsLoopback() {
		j.log.Warn(fmt.Sprintf("--ui %s: everybody who reaches this address sees the page, without a password, and rows of people's data on it; --ui :%d is for this host alone, ssh -L brings it elsewhere",
			addr, at.Port))
	}
	return s, nil
}

// processName is what others see of this process.
func processName() string { return fmt.Sprintf("%s (%d)", hostName(), os.Getpid()) }
