// Command dist makes what is handed out of chatbatch: for each system an archive with
// the program, its man pages, completions, files to run it by, and the licences of all
// that is in it, and SHA256SUMS of the archives.
//
// The same commit, made by the same Go, gives the same bytes, wherever and whenever:
// nothing of the machine is in them, and the time is that of the commit.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// targets are what is made if nothing else is said.
const targets = "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64"

func main() {
	out := flag.String("o", "dist", "directory of the archives; what is in it is removed")
	which := flag.String("targets", targets, "systems, as GOOS/GOARCH with blanks between them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := distribute(ctx, *out, strings.Fields(*which)); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		stop()
		os.Exit(1)
	}
}

// distribute makes all archives in out.
func distribute(ctx context.Context, out string, targets []string) error {
	when, err := sourceTime(ctx)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "chatbatch-dist-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	common, err := commonFiles(ctx, work, when)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var sums []string
	for _, target := range targets {
		name, err := archive(ctx, out, work, target, common, when)
		if err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			return err
		}
		sums = append(sums, fmt.Sprintf("%x  %s\n", sha256.Sum256(text), name))
		fmt.Printf("%s  %.1f MB\n", name, float64(len(text))/1e6)
	}
	slices.SortFunc(sums, func(a, b string) int { return cmp.Compare(a[sha256.Size*2:], b[sha256.Size*2:]) })
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(strings.Join(sums, "")), 0o644)
}

// archive makes that of one system, and returns its name.
func archive(ctx context.Context, out, work, target string, common []file, when time.Time) (string, error) {
	system, processor, ok := strings.Cut(target, "/")
	if !ok {
		return "", fmt.Errorf("want GOOS/GOARCH")
	}
	program := filepath.Join(work, system+"-"+processor)
	if err := build(ctx, program, system, processor); err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	licences, err := licences(ctx, info)
	if err != nil {
		return "", err
	}
	name := "chatbatch"
	if system == "windows" {
		name += ".exe"
	}
	all := append(slices.Clone(common), licences...)
	all = append(all, file{name: name, from: program, mode: 0o755})
	version := strings.Trim(info.Main.Version, "()") // (devel), without git
	base := fmt.Sprintf("chatbatch_%s_%s_%s", version, system, processor)
	if system == "windows" {
		return base + ".zip", pack(filepath.Join(out, base+".zip"), base, all, when, zipped)
	}
	return base + ".tar.gz", pack(filepath.Join(out, base+".tar.gz"), base, all, when, tarred)
}

// sourceTime is the time of the commit, or what SOURCE_DATE_EPOCH says.
func sourceTime(ctx context.Context) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("find the time of the commit: %w; without git set SOURCE_DATE_EPOCH to the time of the sources", err)
		}
		text = strings.TrimSpace(string(out))
	}
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: it is a number of seconds", text)
	}
	return time.Unix(epoch, 0).UTC(), nil
}

// build makes the program for a system: static, without names of this machine.
func build(ctx context.Context, name, system, processor string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", name, "./cmd/chatbatch")
	// What a developer has set for himself must not make another program.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+processor, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GODEBUG=")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// commonFiles are those that all archives have.
func commonFiles(ctx context.Context, work string, when time.Time) ([]file, error) {
	program := filepath.Join(work, "here")
	if err := build(ctx, program, runtime.GOOS, runtime.GOARCH); err != nil {
		return nil, err
	}
	all, err := read("README*.md", "")
	if err != nil {
		return nil, err
	}
	deploy, err := read("cmd/chatbatch/deploy/*", "deploy")
	if err != nil {
		return nil, err
	}
	pages := filepath.Join(work, "man")
	man := exec.CommandContext(ctx, program, "man", pages)
	man.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", when.Unix()))
	if out, err := man.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make the man pages: %w: %s", err, out)
	}
	manual, err := read(filepath.Join(pages, "*.1"), "man/man1")
	if err != nil {
		return nil, err
	}
	all = append(append(all, deploy...), manual...)
	for shell, name := range map[string]string{"bash": "chatbatch.bash", "zsh": "_chatbatch", "fish": "chatbatch.fish", "powershell": "chatbatch.ps1"} {
		script, err := exec.CommandContext(ctx, program, "completion", shell).Output()
		if err != nil {
			return nil, fmt.Errorf("make the completions for %s: %w", shell, err)
		}
		all = append(all, file{name: "completions/" + name, text: script, mode: 0o644})
	}
	return all, nil
}
