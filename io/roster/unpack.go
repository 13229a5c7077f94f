package roster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// The ways in which a file may be packed, as its first bytes tell; its name
// does not matter.
const (
	Gzip = "gzip"
	Zstd = "zstd"
)

// A PackError says that a packed file cannot be unpacked to its end. What was
// read of it so far cannot be trusted to be the whole file.
type PackError struct {
	Packed string // Gzip or Zstd, or "xlsx"
	Err    error
}

// Error says what is wrong, and of which packing.
func (e *PackError) Error() string { return fmt.Sprintf("unpack %s: %v", e.Packed, e.Err) }

// Unwrap gives the error alone.
func (e *PackError) Unwrap() error { return e.Err }

// Bounds of what is unpacked.
const (
	// A list of people shrinks to a tenth or a fiftieth. What unpacks to more
	// than maxRatio times its size, behind the first freely unpacked bytes, was
	// made to fill a disk, or to keep a program busy for ever.
	maxRatio = 500
	freely   = 64 << 20

	// maxWindow is the memory that a zstd file may ask for. The levels up to 19
	// ask for 8 MiB.
	maxWindow = 32 << 20
)

// unpack gives what is in a packed file, and says how it is packed; a file that
// is not packed comes as it is.
func unpack(r io.Reader) (_ *bufio.Reader, packed string, err error) {
	br := bufio.NewReaderSize(r, bufferSize)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	u := &unpacker{}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		packed, u.in = Gzip, &intake{r: br}
		u.out, err = gzip.NewReader(u.in)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		packed, u.in = Zstd, &intake{r: br}
		// One at a time: it ends with its caller, without goroutines that nobody
		// waits for.
		u.out, err = zstd.NewReader(u.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	default:
		return br, "", nil
	}
	u.packed = packed
	if err != nil {
		return nil, "", u.why(err)
	}
	return bufio.NewReaderSize(u, bufferSize), packed, nil
}

// An unpacker watches what comes out of a decompressor.
type unpacker struct {
	packed string
	in     *intake
	out    io.Reader
	bytes  int64
}

// Read gives the next bytes, or a PackError.
func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.out.Read(p)
	u.bytes += int64(n)
	switch {
	case err == io.EOF:
		return n, err
	case err != nil:
		return n, u.why(err)
	case u.bytes > freely && u.bytes/maxRatio > u.in.bytes:
		return n, u.why(fmt.Errorf("it becomes more than %d times as large: unpack it first, if that is what you want", maxRatio))
	}
	return n, nil
}

// why says why a file cannot be unpacked. An error of the file below is not one
// of its packing.
func (u *unpacker) why(err error) error {
	switch {
	case u.in.err != nil && u.in.err != io.EOF:
		return u.in.err
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		err = errors.New("the file is cut off")
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("it needs more than %d MiB of memory: unpack it first", maxWindow>>20)
	}
	return &PackError{Packed: u.packed, Err: err}
}

// An intake counts what is read, and keeps the error of it.
type intake struct {
	r     io.Reader
	bytes int64
	err   error
}

func (c *intake) Read(p []byte) (n int, err error) {
	n, err = c.r.Read(p)
	c.bytes += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}
