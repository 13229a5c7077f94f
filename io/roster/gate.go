package roster

import (
	"bufio"
	"bytes"
	"io"
)

// bufferSize holds whole lines of the usual files, so that they need no copy.
const bufferSize = 64 << 10

const byteOrderMark = "\ufeff"

// A gate hands out a file line by line. Whatever is wrong with a line, the next
// call starts behind it, and no line costs more memory than keep.
//
// It is what makes a stray quote cost its own line only: encoding/csv alone
// reads on to the next quote, in the worst case to the end of the file.
type gate struct {
	br      *bufio.Reader
	keep    int    // so much of a line is kept
	spill   []byte // a line longer than the buffer of br
	held    bool   // the next line, or error, is already there, as follows
	line    []byte
	whole   bool
	err     error
	num     int64  // number of the line read last, from 1
	bom     string // what stood before the first line
	newLine string // how the first line that is not blank ended
}

func newGate(r io.Reader, keep int) *gate {
	return &gate{br: bufio.NewReaderSize(r, bufferSize), keep: keep}
}

// hold reads what next is going to return.
func (g *gate) hold() (line []byte, whole bool, err error) {
	if !g.held {
		g.line, g.whole, g.err = g.next()
		g.held = true
	}
	return g.line, g.whole, g.err
}

// next returns the next line that is not blank, without its end; whole is false
// if it was cut after keep bytes. It is valid until the following call. At the
// end of the file the error is io.EOF.
func (g *gate) next() (line []byte, whole bool, err error) {
	if g.held {
		g.held = false
		return g.line, g.whole, g.err
	}
	for {
		line, end, blank, err := g.read()
		if err != nil {
			return nil, false, err
		}
		if blank {
			continue
		}
		if g.newLine == "" {
			g.newLine = end
		}
		if len(line) > g.keep {
			return line[:g.keep], false, nil
		}
		return line, true, nil
	}
}

// read reads one line; of a long one it returns more than keep bytes.
func (g *gate) read() (line []byte, end string, blank bool, err error) {
	line, err = g.br.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return g.readLong(line)
	}
	if err != nil && (err != io.EOF || len(line) == 0) {
		return nil, "", false, err
	}
	g.num++
	line = g.trimBOM(line)
	line, end = trimEnd(line)
	return line, end, isBlank(line), nil
}

// readLong reads a line that is longer than the buffer of br, from its first
// piece on. It keeps two bytes more than it needs: those may be the line end.
func (g *gate) readLong(piece []byte) (line []byte, end string, blank bool, err error) {
	g.num++
	piece = g.trimBOM(piece)
	g.spill, blank = g.spill[:0], true
	var tail [2]byte // the last bytes, kept or not
	for err = bufio.ErrBufferFull; ; piece, err = g.br.ReadSlice('\n') {
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, "", false, err
		}
		blank = blank && isBlank(piece)
		g.spill = append(g.spill, piece[:min(len(piece), g.keep+2-len(g.spill))]...)
		for _, c := range piece[max(0, len(piece)-2):] {
			tail[0], tail[1] = tail[1], c
		}
		if err != bufio.ErrBufferFull {
			break
		}
	}
	_, end = trimEnd(tail[:])
	line, _ = trimEnd(g.spill)
	return line, end, blank, nil
}

func (g *gate) trimBOM(line []byte) []byte {
	if g.num != 1 {
		return line
	}
	rest := line
	for bytes.HasPrefix(rest, []byte(byteOrderMark)) {
		rest = rest[len(byteOrderMark):]
	}
	g.bom = string(line[:len(line)-len(rest)])
	return rest
}

// trimEnd splits a line from its end. A carriage return that ends the file
// belongs to a line end of which the last byte is missing.
func trimEnd(line []byte) (text []byte, end string) {
	end = "\n"
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line, end = line[:n-1], "\r\n"
	}
	return line, end
}

// isBlank tells a line of nothing but blanks. Such a line is not a row.
func isBlank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}
