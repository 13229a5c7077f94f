//go:build !unix

package ledger

func isNoSpace(error) bool { return false }

func isReadOnly(error) bool { return false }

func isBroken(error) bool { return false }

// isInvalid says that a directory cannot be synced here, e.g. on Windows.
func isInvalid(error) bool { return true }
