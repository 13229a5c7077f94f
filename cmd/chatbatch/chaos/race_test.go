//go:build linux && race

package chaos

var buildFlags = []string{"-race"}
