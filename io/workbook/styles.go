package workbook

import (
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// A style is how a number is shown.
type style struct {
	date  bool
	zeros int  // so many digits, with zeros in front; 0 for none
	other bool // with more than its digits, or fewer
}

// readStyles reads how the cells of a workbook are shown.
func (b *Book) readStyles(main string) error {
	list, err := b.related(main, "/styles")
	if err != nil || len(list) == 0 {
		return err
	}
	p, err := b.must(list[0].target)
	if err != nil {
		return err
	}
	defer p.close()
	codes := map[string]string{}
	cells := false // inside of the list that cells refer to
	for {
		e, err := p.element("numFmt", "cellXfs", "cellStyles", "dxfs", "xf")
		if err == io.EOF {
			return p.end()
		}
		if err != nil {
			return err
		}
		switch e.Name.Local {
		case "numFmt":
			codes[attr(e, "numFmtId")] = attr(e, "formatCode")
		case "xf":
			if cells {
				id := attr(e, "numFmtId")
				b.styles = append(b.styles, styleOf(id, codes[id]))
			}
		default:
			cells = e.Name.Local == "cellXfs"
		}
	}
}

// styleOf says what a number format does.
func styleOf(id, code string) style {
	n, _ := strconv.Atoi(id) // 0, which is General, for what is no number
	switch {
	case code != "":
		return styleOfCode(code)
	case n == 0, n == 1, n == 3, n == 49:
		return style{}
	case n >= 14 && n <= 22, n >= 27 && n <= 36, n >= 45 && n <= 47, n >= 50 && n <= 58:
		return style{date: true}
	}
	return style{other: true}
}

func styleOfCode(code string) style {
	switch digits := digitsOf(code); {
	case strings.EqualFold(digits, "General"), digits == "@", digits == "#", digits == "#,##0":
		return style{}
	case digits != "" && strings.Trim(digits, "0") == "":
		return style{zeros: len(digits)}
	case isDateCode(code):
		return style{date: true}
	}
	return style{other: true}
}

// digitsOf is what a format does to a number that is not negative, without
// colours and without the room that it leaves: "0" of "0_);[Red](0)".
func digitsOf(code string) string {
	var b strings.Builder
	for i := 0; i < len(code); i++ {
		switch c := code[i]; c {
		case ';':
			return b.String()
		case '_', '*':
			i++
		case '[':
			end := strings.IndexByte(code[i:], ']')
			if end < 0 || strings.ContainsAny(code[i:i+end], "$<>=") || strings.Trim(strings.ToLower(code[i+1:i+end]), "hms") == "" {
				return code
			}
			i += end
		case ' ':
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isDateCode reports whether a format shows a date or a time: it has one of the
// letters for their parts, not in quotes or brackets.
func isDateCode(code string) bool {
	code = strings.ToLower(code)
	for i := 0; i < len(code); i++ {
		switch c := code[i]; c {
		case '"', '[':
			end := strings.IndexByte(code[i+1:], map[byte]byte{'"': '"', '[': ']'}[c])
			if end < 0 {
				return false
			}
			if c == '[' && end > 0 && strings.Trim(code[i+1:i+1+end], "hms") == "" {
				return true // time that has passed
			}
			i += 1 + end
		case '\\', '_', '*':
			i++
		case 'y', 'm', 'd', 'h', 's':
			return true
		}
	}
	return false
}

// A number that Excel keeps whole has 15 digits at most.
const wholeBelow = 1e15

// number makes a cell of a number as it stands in the file.
func (b *Book) number(text, styleID string) Cell {
	var s style
	if i, err := strconv.Atoi(styleID); err == nil && i >= 0 && i < len(b.styles) {
		s = b.styles[i]
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
		return Cell{Text: text, Kind: Error}
	}
	if s.date {
		if shown, ok := b.date(x); ok {
			return Cell{Text: shown, Kind: Date}
		}
	}
	whole := x == math.Trunc(x)
	switch {
	case whole && math.Abs(x) >= wholeBelow:
		return Cell{Text: strconv.FormatFloat(x, 'f', -1, 64), Kind: LongNumber}
	case !whole:
		return Cell{Text: strconv.FormatFloat(x, 'g', 15, 64), Kind: Number, Styled: s.other}
	}
	digits := strconv.FormatInt(int64(x), 10)
	if x >= 0 && len(digits) < s.zeros {
		digits = strings.Repeat("0", s.zeros-len(digits)) + digits
	}
	return Cell{Text: digits, Kind: Number, Styled: s.other}
}

// date shows a number of days as a date, or as a time of the day.
func (b *Book) date(x float64) (string, bool) {
	if x < 0 || x >= 2958466 { // the year 10000
		return "", false
	}
	first := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	switch {
	case b.from == 1904:
		first = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	case x < 60: // before a day that never was
		first = first.AddDate(0, 0, 1)
	}
	days, part := math.Modf(x)
	at := first.AddDate(0, 0, int(days)).Add(time.Duration(math.Round(part*86400)) * time.Second)
	switch {
	case days == 0 && part > 0:
		return at.Format(time.TimeOnly), true
	case part == 0:
		return at.Format(time.DateOnly), true
	}
	return at.Format(time.DateTime), true
}
