package limiter

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestNetworkName(t *testing.T) {
	tests := []struct {
		magic uint32
		want  string
	}{
		{unix.NFS_SUPER_MAGIC, "NFS"},
		{unix.CIFS_SUPER_MAGIC, "SMB"},
		{unix.SMB2_SUPER_MAGIC, "SMB"},
		{unix.EXT4_SUPER_MAGIC, ""},
		{unix.TMPFS_MAGIC, ""},
		{unix.OVERLAYFS_SUPER_MAGIC, ""},
	}
	for _, tt := range tests {
		if got := networkName(tt.magic); got != tt.want {
			t.Errorf("%#x: got %q, want %q", tt.magic, got, tt.want)
		}
	}
	if got, err := networkFS(t.TempDir()); got != "" || err != nil {
		t.Errorf("temporary directory: got %q, %v", got, err)
	}
	if _, err := networkFS("/does/not/exist"); err == nil {
		t.Error("missing directory: got no error")
	}
}
