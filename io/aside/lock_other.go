//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package aside

import "os"

// renamesOpen says that a file can be renamed while it is open.
const renamesOpen = false

// claim would keep others from removing a file that is being written; here they wait
// until it is stale.
func claim(*os.File) bool { return true }

func removeUnclaimed(string) {}
