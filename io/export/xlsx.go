package export

import (
	"archive/zip"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/flate"
	"github.com/xuri/excelize/v2"
)

// The limits of Excel.
const (
	maxSheetRows = excelize.TotalRows      // 1,048,576, the header included
	maxColumns   = excelize.MaxColumns     // 16,384
	maxCellChars = excelize.TotalCellChars // 32,767, as UTF-16 counts
)

// maxSheetBytes bounds the XML of a sheet. Behind 4 GiB a part of an archive
// needs 64-bit sizes, and Excel refuses those of an archive that was written
// front to back.
const maxSheetBytes = 3 << 30

// A workbook writes sheets, one behind the other, right into the archive.
//
// All that is not a row is made by excelize: styles, panes, the parts of the
// package. The rows are not. Its StreamWriter drops "_xD800_" from a text
// and spoils "_x0041_x0042_", cuts a long text without a word, keeps 16 to 33
// MiB in memory and the rest in a temporary file; here a row is on its way once
// it is written.
type workbook struct {
	zip     *zip.Writer
	columns []string
	styles  styles
	limits  sheetLimits

	heads [2][]byte // what stands before the rows of the first sheet, and of all others
	tail  []byte    // what stands behind them

	sheets int
	part   io.Writer // the sheet under way; nil if there is none
	rows   int       // in it, with the header
	bytes  int64     // in it

	letters []string // of the columns: "A", "B"
	line    []byte   // for reuse
}

// sheetLimits are where the next sheet begins.
type sheetLimits struct {
	rows  int
	bytes int64
}

// checkColumns refuses a header that no sheet can have.
func checkColumns(columns []string) error {
	if len(columns) > maxColumns {
		return fmt.Errorf("xlsx: %d columns: a sheet has at most %d", len(columns), maxColumns)
	}
	for i, name := range columns {
		if err := checkLength(name); err != nil {
			return fmt.Errorf("xlsx: the name of column %d: %w", i+1, err)
		}
	}
	return nil
}

func newWorkbook(out io.Writer, columns []string) (*workbook, error) {
	b := &workbook{zip: zip.NewWriter(out), columns: columns, limits: sheetLimits{maxSheetRows, maxSheetBytes}}
	b.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.DefaultCompression)
	})
	if err := b.reach(len(columns)); err != nil {
		return nil, err
	}
	f, err := newFrame(len(b.heads))
	if err != nil {
		return nil, err
	}
	b.styles = f.styles
	for i := range b.heads {
		if b.heads[i], b.tail, err = f.sheet(i + 1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// reach names the columns up to the n-th.
func (b *workbook) reach(n int) error {
	for len(b.letters) < n {
		name, err := excelize.ColumnNumberToName(len(b.letters) + 1)
		if err != nil {
			return err
		}
		b.letters = append(b.letters, name)
	}
	return nil
}

// row writes a row, on a new sheet if need be.
func (b *workbook) row(cells []string) error {
	if err := b.reach(len(cells)); err != nil {
		return &RowError{Err: err}
	}
	for i, cell := range cells {
		if err := checkLength(cell); err != nil {
			e := &RowError{Err: err}
			if i < len(b.columns) {
				e.Column = b.columns[i]
			}
			return e
		}
	}
	if b.part == nil || b.rows >= b.limits.rows || b.bytes >= b.limits.bytes {
		if err := b.next(); err != nil {
			return err
		}
	}
	return b.write(cells, b.styles.cell)
}

// next ends the sheet under way and begins another, with its header.
func (b *workbook) next() error {
	if err := b.endSheet(); err != nil {
		return err
	}
	b.sheets++
	part, err := b.create(sheetPart(b.sheets))
	if err != nil {
		return err
	}
	b.part, b.rows, b.bytes = part, 0, 0
	if _, err := part.Write(b.heads[min(b.sheets, len(b.heads))-1]); err != nil {
		return err
	}
	return b.write(b.columns, b.styles.header)
}

func (b *workbook) endSheet() error {
	if b.part == nil {
		return nil
	}
	_, err := b.part.Write(b.tail)
	b.part = nil
	return err
}

// create begins a part of the package. It has no time.
func (b *workbook) create(name string) (io.Writer, error) {
	return b.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
}

// write writes the cells of a row. An empty cell is left out: to Excel it is
// the same.
func (b *workbook) write(cells []string, style int) error {
	b.rows++
	row := strconv.Itoa(b.rows)
	line := append(append(append(b.line[:0], `<row r="`...), row...), `">`...)
	for i, cell := range cells {
		if cell == "" {
			continue
		}
		line = append(append(append(line, `<c r="`...), b.letters[i]...), row...)
		line = strconv.AppendInt(append(line, `" s="`...), int64(style), 10)
		line = append(line, `" t="inlineStr"><is><t`...)
		if keepsSpace(cell) {
			line = append(line, ` xml:space="preserve"`...)
		}
		line = append(appendText(append(line, '>'), cell), `</t></is></c>`...)
	}
	b.line = append(line, `</row>`...)
	n, err := b.part.Write(b.line)
	b.bytes += int64(n)
	return err
}

// close ends the last sheet, of which there is always one, and writes the
// other parts.
func (b *workbook) close() error {
	if b.sheets == 0 {
		if err := b.next(); err != nil {
			return err
		}
	}
	if err := b.endSheet(); err != nil {
		return err
	}
	f, err := newFrame(b.sheets)
	if err != nil {
		return err
	}
	for _, name := range f.others() {
		part, err := b.create(name)
		if err != nil {
			return err
		}
		if _, err := part.Write(f.parts[name].Bytes()); err != nil {
			return err
		}
	}
	return b.zip.Close()
}
