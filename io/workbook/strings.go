package workbook

import (
	"fmt"
	"io"
	"math"
	"os"
)

// Bounds of the texts that the cells of a workbook share.
const (
	stringsInMemory = 4 << 20 // bytes
	maxStrings      = 8 << 20
	maxStringBytes  = math.MaxUint32
	endsInBlock     = 1 << 12
)

// A stringTable keeps texts by their number: the first ones in memory, and the
// rest in a file.
type stringTable struct {
	ends  [][]uint32 // in blocks: one list would be copied again and again while it grows
	count int
	text  []byte
	limit int // bytes in memory
	dir   string
	file  *os.File // without a name
	tail  []byte   // of the file, not written yet
	size  int      // of all
	buf   []byte   // for reuse
}

func (t *stringTable) add(s string) error {
	if t.count == maxStrings {
		return fmt.Errorf("there are more than %d texts", maxStrings)
	}
	if t.size += len(s); t.size > maxStringBytes {
		return fmt.Errorf("the texts have more than %d bytes", maxStringBytes)
	}
	if t.count%endsInBlock == 0 {
		t.ends = append(t.ends, make([]uint32, 0, endsInBlock))
	}
	last := &t.ends[len(t.ends)-1]
	*last = append(*last, uint32(t.size))
	t.count++
	if t.file == nil && len(t.text)+len(s) <= t.limit {
		t.text = append(t.text, s...)
		return nil
	}
	if t.file == nil {
		f, err := os.CreateTemp(t.dir, ".workbook-*")
		if err != nil {
			return err
		}
		_ = os.Remove(f.Name()) // where that is not possible, close does it
		t.file = f
	}
	t.tail = append(t.tail, s...)
	if len(t.tail) < 64<<10 {
		return nil
	}
	return t.flush()
}

func (t *stringTable) flush() error {
	if len(t.tail) == 0 {
		return nil
	}
	_, err := t.file.Write(t.tail)
	t.tail = t.tail[:0]
	return err
}

func (t *stringTable) get(i int) (string, error) {
	if i < 0 || i >= t.count {
		return "", fmt.Errorf("there is no shared text %d", i)
	}
	start, end := 0, t.end(i)
	if i > 0 {
		start = t.end(i - 1)
	}
	if end <= len(t.text) {
		return string(t.text[start:end]), nil
	}
	if cap(t.buf) < end-start {
		t.buf = make([]byte, end-start)
	}
	buf := t.buf[:end-start]
	_, err := t.file.ReadAt(buf, int64(start-len(t.text)))
	if err != nil && err != io.EOF {
		return "", err
	}
	return string(buf), nil
}

func (t *stringTable) end(i int) int { return int(t.ends[i/endsInBlock][i%endsInBlock]) }

func (t *stringTable) close() {
	if t.file != nil {
		_ = t.file.Close()
		_ = os.Remove(t.file.Name())
	}
}

// readStrings reads the texts that the cells of a workbook share.
func (b *Book) readStrings(main string) error {
	b.strings = &stringTable{limit: stringsInMemory, dir: b.tempDir}
	list, err := b.related(main, "/sharedstrings")
	if err != nil || len(list) == 0 {
		return err
	}
	p, err := b.must(list[0].target)
	if err != nil {
		return err
	}
	defer p.close()
	for {
		if _, err := p.element("si"); err == io.EOF {
			return b.strings.flush()
		} else if err != nil {
			return err
		}
		text, err := p.text("si")
		if err == nil {
			err = b.strings.add(text)
		}
		if err != nil {
			return err
		}
	}
}
