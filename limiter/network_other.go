//go:build !linux

package limiter

// networkFS is only known on Linux.
func networkFS(string) (string, error) { return "", nil }
