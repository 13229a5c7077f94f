package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionText(t *testing.T) {
	last := fmt.Sprintf("%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	main := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: "107e1aa"}, {Key: "vcs.time", Value: "2026-11-28T07:26:55Z"}, {Key: "vcs.modified", Value: modified}}
	}
	tests := []struct {
		name, want string
		info       *debug.BuildInfo
	}{
		{"a tag", "chatbatch v1.2.3\ncommit 107e1aa of 2026-11-28T07:26:55Z\n", main("v1.2.3", vcs("false")...)},
		{"changed", "chatbatch v1.2.4-0.2026+dirty\ncommit 107e1aa of 2026-11-28T07:26:55Z, with changes that were not committed\n", main("v1.2.4-0.2026+dirty", vcs("true")...)},
		{"no git", "chatbatch (devel)\n", main("(devel)")},
		{"nothing", "chatbatch (unknown)\n", main("")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := versionText(tt.info); got != tt.want+last {
				t.Errorf("got %q, want %q", got, tt.want+last)
			}
		})
	}
}
