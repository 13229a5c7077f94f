package export

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// bufferSize is what is held back before it is compressed, or written to a
// stream, in bytes.
const bufferSize = 64 << 10

// A meter counts and hashes the bytes that go through it, those that were
// really written.
type meter struct {
	out   io.Writer
	hash  hash.Hash
	bytes int64
}

func newMeter(out io.Writer) *meter { return &meter{out: out, hash: sha256.New()} }

// Write passes bytes on.
func (m *meter) Write(p []byte) (int, error) {
	n, err := m.out.Write(p)
	m.hash.Write(p[:n]) // has no errors
	m.bytes += int64(n)
	return n, err
}

func (m *meter) sum() string { return hex.EncodeToString(m.hash.Sum(nil)) }

// compress puts a compressor before a writer. It has written all when it is
// closed, which does not close the writer.
func compress(out io.Writer, how string) (io.WriteCloser, error) {
	switch how {
	case "":
		return uncompressed{out}, nil
	case Gzip:
		return gzip.NewWriter(out), nil // its header has no time unless one is set
	case Zstd:
		// One at a time: it ends with its caller, without goroutines that nobody
		// waits for.
		return zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	}
	return nil, fmt.Errorf("no compression %q", how)
}

type uncompressed struct{ io.Writer }

// Close has nothing to do.
func (uncompressed) Close() error { return nil }
