package workbook

import "strings"

// Join writes cells as one text that has all of them: CSV, in which a cell with
// a comma, a quote or a line break is in quotes.
func Join(cells []string) string {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteByte(',')
		}
		if !strings.ContainsAny(cell, ",\"\r\n") {
			b.WriteString(cell)
			continue
		}
		b.WriteByte('"')
		b.WriteString(strings.ReplaceAll(cell, `"`, `""`))
		b.WriteByte('"')
	}
	return b.String()
}

// Split gives back the cells that Join has written, with all their line breaks.
func Split(text string) (cells []string) {
	for {
		if !strings.HasPrefix(text, `"`) {
			cell, rest, more := strings.Cut(text, ",")
			cells = append(cells, cell)
			if !more {
				return cells
			}
			text = rest
			continue
		}
		end := 1
		for end < len(text) && (text[end] != '"' || end+1 < len(text) && text[end+1] == '"') {
			if text[end] == '"' {
				end++
			}
			end++
		}
		cells = append(cells, strings.ReplaceAll(text[1:min(end, len(text))], `""`, `"`))
		if end+1 >= len(text) {
			return cells
		}
		text = text[end+2:]
	}
}
