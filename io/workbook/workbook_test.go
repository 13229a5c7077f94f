package workbook

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"
)

const (
	relsXML = `<Relationships><Relationship Id="r1" Type="http://x/officeDocument" Target="xl/workbook.xml"/></Relationships>`
	bookXML = `<workbook><sheets><sheet name="A" sheetId="1" r:id="s1"/><sheet name="B" sheetId="2" state="hidden" r:id="s2"/></sheets></workbook>`
	bookRel = `<Relationships><Relationship Id="s1" Type="http://x/worksheet" Target="worksheets/sheet1.xml"/>` +
		`<Relationship Id="s2" Type="http://x/worksheet" Target="/xl/worksheets/Sheet2.xml"/>` +
		`<Relationship Id="t" Type="http://x/sharedStrings" Target="sharedStrings.xml"/><Relationship Id="y" Type="http://x/styles" Target="styles.xml"/></Relationships>`
	stylesXML = `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy&quot;年&quot;m&quot;月&quot;"/><numFmt numFmtId="165" formatCode="00000"/>` +
		`<numFmt numFmtId="166" formatCode="&quot;days&quot;0"/><numFmt numFmtId="167" formatCode="[Red]General"/><numFmt numFmtId="168" formatCode="[h]:mm"/></numFmts>` +
		`<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="166"/><xf numFmtId="22"/><xf numFmtId="168"/><xf numFmtId="10"/></cellXfs></styleSheet>`
	stringsXML = `<sst><si><t>plain</t></si><si><r><t>ri</t></r><r><t xml:space="preserve">ch </t></r><rPh><t>spoken</t></rPh></si><si><t>a_x000D_b_x005F_x0041_</t></si><si/></sst>`
)

// build makes a workbook of parts.
func build(t testing.TB, sheet string, others map[string]string) []byte {
	t.Helper()
	parts := map[string]string{"_rels/.rels": relsXML, "xl/workbook.xml": bookXML, "xl/_rels/workbook.xml.rels": bookRel, "xl/styles.xml": stylesXML,
		"xl/sharedStrings.xml": stringsXML, "xl/worksheets/sheet1.xml": sheet, "xl/worksheets/sheet2.xml": "<worksheet><sheetData/></worksheet>"}
	for name, text := range others {
		parts[name] = text
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range parts {
		if text == "" {
			continue
		}
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read gives the rows of the first sheet, as "NUM cell|cell".
func read(text []byte) (lines []string, err error) {
	b, err := Open(bytes.NewReader(text), int64(len(text)), "")
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if len(b.Sheets) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	rows, err := b.Rows(b.Sheets[0])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for {
		num, cells, err := rows.Next()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		var show []string
		for _, c := range cells {
			text := c.Text
			if c.Kind != Text || c.Styled {
				text += fmt.Sprintf("(%d", c.Kind)
				if c.Styled {
					text += "s"
				}
				text += ")"
			}
			show = append(show, text)
		}
		lines = append(lines, fmt.Sprint(num, " ", strings.Join(show, "|")))
	}
}

func sheetOf(rows string) string { return "<worksheet><sheetData>" + rows + "</sheetData></worksheet>" }

func TestCells(t *testing.T) {
	for _, tt := range []struct{ name, row, want string }{
		{"shared", `<c t="s"><v>0</v></c><c t="s"><v> 1 </v></c><c t="s"><v>2</v></c><c t="s"><v>3</v></c><c t="s"/>`, "1 plain|rich |a\rb_x0041_"},
		{"inline", `<c t="inlineStr"><is><r><t>a</t></r><r><t> &lt;b&gt;</t></r></is></c>`, "1 a <b>"},
		{"formula", `<c t="str"><f>A1</f><v>x_x000A_y</v></c><c><f>1</f><v>2</v></c><c><f>1</f></c>`, "1 x\ny|2(1)|(6)"},
		{"places", `<c r="C1"><v>3</v></c><c><v>4</v></c><c r="A1"><v>1</v></c>`, "1 1(1)||3(1)|4(1)"},
		{"truth, errors", `<c t="b"><v>1</v></c><c t="b"><v>0</v></c><c t="e"><v>#N/A</v></c><c><v>nan</v></c>`, "1 TRUE(4)|FALSE(4)|#N/A(5)|nan(5)"},
		{"numbers", `<c><v>1000</v></c><c><v>1E3</v></c><c><v>-5</v></c><c><v>0.1</v></c><c><v>0.30000000000000004</v></c><c><v>999999999999999</v></c>`,
			"1 1000(1)|1000(1)|-5(1)|0.1(1)|0.3(1)|999999999999999(1)"},
		{"long numbers", `<c><v>1.38001380001235E+17</v></c><c><v>1000000000000000</v></c>`, "1 138001380001235000(2)|1000000000000000(2)"},
		{"shown as dates", `<c s="1"><v>45536</v></c><c s="4"><v>45536.35416666666</v></c><c s="4"><v>0.5</v></c><c s="4"><v>1</v></c><c s="4"><v>61</v></c><c t="d"><v>2024-09-01</v></c><c s="1"><v>-1</v></c>`,
			"1 2024-09-01(3)|2024-09-01 08:30:00(3)|12:00:00(3)|1900-01-01(3)|1900-03-01(3)|2024-09-01(3)|-1(1)"},
		{"shown otherwise", `<c s="2"><v>123</v></c><c s="2"><v>1234567</v></c><c s="3"><v>7</v></c><c s="5"><v>1.5</v></c><c s="6"><v>0.5</v></c><c s="99"><v>8</v></c>`,
			"1 00123(1)|1234567(1)|7(1s)|1900-01-01 12:00:00(3)|0.5(1s)|8(1)"},
		{"nothing", `<c r="A1" s="1"/><c r="B1"/>`, "1 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(build(t, sheetOf("<row>"+tt.row+"</row>"), nil))
			if err != nil || len(got) != 1 || got[0] != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestStyles(t *testing.T) {
	for code, want := range map[string]style{
		"General": {}, "@": {}, "0": {zeros: 1}, "0_ ": {zeros: 1}, `0_);[Red]\(0\)`: {zeros: 1}, "0;-0": {zeros: 1}, "#,##0": {}, "#,##0_ ;-#,##0": {}, "[Red]General": {},
		"00000": {zeros: 5}, "[Blue]000_ ": {zeros: 3},
		"0.00": {other: true}, `"U"0`: {other: true}, "0%": {other: true}, "[$-804]0": {other: true}, "[>100]0": {other: true}, "0E+00": {other: true}, `0"d"`: {other: true}, `\d0`: {other: true}, "[": {other: true},
		"yyyy/m/d": {date: true}, "[h]:mm": {date: true}, "[$-804]yyyy\"年\"": {date: true}, "mm:ss.0": {date: true}, "h AM/PM": {date: true},
	} {
		if got := styleOfCode(code); got != want {
			t.Errorf("%s: got %+v, want %+v", code, got, want)
		}
	}
}

func TestRows(t *testing.T) {
	text := build(t, `<worksheet><cols><col/></cols>`+sheetOf(`<row r="2"><c><v>1</v></c></row><row/><row r="9" hidden="1"><c r="B9"><v>2</v></c></row>`)[11:], nil)
	got, err := read(text)
	if diff := cmp.Diff([]string{"2 1(1)", "3 ", "9 |2(1)"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	b, err := Open(bytes.NewReader(text), int64(len(text)), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Sheets) != 2 || b.Sheets[0].Name != "A" || b.Sheets[0].Hidden || !b.Sheets[1].Hidden {
		t.Errorf("got sheets %+v", b.Sheets)
	}
}

// What is damaged is an error, and no end.
func TestDamaged(t *testing.T) {
	const good = `<row r="1"><c><v>1</v></c></row>`
	for _, tt := range []struct {
		name, sheet string
		others      map[string]string
		want        string
	}{
		{"sheet cut off", "<worksheet><sheetData>" + good, nil, "it is cut off"},
		{"row cut off", `<worksheet><sheetData><row r="1"><c>`, nil, "it is cut off"},
		{"tag cut off", `<worksheet><sheetData><row r="1"><c`, nil, "unexpected EOF"},
		{"no rows", "<worksheet/>", nil, "it has no rows"},
		{"rows backwards", sheetOf(good + good), nil, `row "1" comes behind row 1`},
		{"row of no number", sheetOf(`<row r="x"/>`), nil, `row "x"`},
		{"cell of no name", sheetOf(`<row><c r="5"/></row>`), nil, `a cell called "5"`},
		{"cell too far", sheetOf(`<row><c r="ZZZ1"/></row>`), nil, "more than 16384 cells"},
		{"no such shared text", sheetOf(`<row><c t="s"><v>9</v></c></row>`), nil, "no shared text 9"},
		{"a shared text cut off", sheetOf(good), map[string]string{"xl/sharedStrings.xml": "<sst><si><t>a"}, "it is cut off"},
		{"a long text", sheetOf(`<row><c t="inlineStr"><is><t>` + strings.Repeat("x", 2*maxToken) + `</t></is></c></row>`), nil, "a text of more than 1048576 bytes"},
		{"a text of many parts", sheetOf(`<row><c t="inlineStr"><is>` + strings.Repeat("<t>"+strings.Repeat("x", 1<<16)+"</t>", 20) + `</is></c></row>`), nil, "a text of more than 1048576 bytes"},
		{"no sheet", "", nil, "xl/worksheets/sheet1.xml is missing"},
		{"not XML", "hello & <", nil, "xl/worksheets/sheet1.xml: "},
		{"no styles", sheetOf(good), map[string]string{"xl/styles.xml": ""}, "xl/styles.xml is missing"},
		{"no workbook", sheetOf(good), map[string]string{"xl/workbook.xml": ""}, ErrNone.Error()},
		{"another archive", sheetOf(good), map[string]string{"_rels/.rels": ""}, ErrNone.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := read(build(t, tt.sheet, tt.others)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, %v, want error %s", got, err, tt.want)
			}
		})
	}
	whole := build(t, sheetOf(good), nil)
	for n := range len(whole) {
		if got, err := read(whole[:n]); err == nil {
			t.Fatalf("cut after %d bytes: got %q", n, got)
		}
	}
}

// A byte that is not as it was is found by the checksum, or does no harm.
func TestChanged(t *testing.T) {
	var rows strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rows, `<row><c t="inlineStr"><is><t>student-%d</t></is></c></row>`, i)
	}
	whole := build(t, sheetOf(rows.String()), nil)
	want, err := read(whole)
	if err != nil || len(want) != 20 {
		t.Fatal(len(want), err)
	}
	for i := range whole {
		text := bytes.Clone(whole)
		text[i] ^= 0x10
		got, err := read(text)
		if err == nil && !cmp.Equal(got, want) {
			t.Fatalf("byte %d: got %q", i, got)
		}
	}
}

func TestMerged(t *testing.T) {
	text := build(t, "<worksheet><sheetData><row><c><v>1</v></c></row></sheetData><mergeCells><mergeCell ref=\"B2:C4\"/><mergeCell ref=\"x\"/></mergeCells></worksheet>", nil)
	b, err := Open(bytes.NewReader(text), int64(len(text)), "")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := b.Rows(b.Sheets[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		column, row int
		want        string
	}{{1, 2, "B2:C4"}, {2, 4, "B2:C4"}, {1, 5, ""}, {0, 2, ""}, {3, 2, ""}} {
		if got := rows.Merged(tt.column, tt.row); got != tt.want {
			t.Errorf("column %d, row %d: got %q, want %q", tt.column, tt.row, got, tt.want)
		}
	}
}

// Texts beyond some memory lie in a file that has no name.
func TestStringTable(t *testing.T) {
	dir := t.TempDir()
	table := &stringTable{limit: 1000, dir: dir}
	defer table.close()
	text := func(i int) string { return strings.Repeat("x", i%7*i%300) + fmt.Sprint(i) }
	for i := range 5000 {
		if err := table.add(text(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if got, err := table.get(i); got != text(i) || err != nil {
			t.Fatalf("text %d: got %q, %v", i, got, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 || table.file == nil || len(table.text) > 1000 {
		t.Errorf("got %d files, %d bytes in memory", len(left), len(table.text))
	}
}

func TestBomb(t *testing.T) {
	sheet := "<worksheet><sheetData>" + strings.Repeat(strings.Repeat(" ", 1<<19)+"<row></row>", 8) + "</sheetData></worksheet>"
	text := build(t, sheet, nil)
	b, err := Open(bytes.NewReader(text), int64(len(text)), "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.must(b.Sheets[0].part)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.freely = 1 << 20
	if err := p.end(); err == nil || !strings.Contains(err.Error(), "more than 500 times as large") {
		t.Errorf("got %v", err)
	}
}

func TestJoin(t *testing.T) {
	check := func(cells []string) bool {
		if len(cells) == 0 {
			cells = []string{""}
		}
		return cmp.Equal(Split(Join(cells)), cells)
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
	for _, cells := range [][]string{{""}, {"", ""}, {"a,b", `c"d`, "e\r\nf"}, {`"`}, {`""`, ","}, {"a", "", `x"`}} {
		if !check(cells) {
			t.Errorf("%q: got %q", cells, Split(Join(cells)))
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(`a,"b""`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, text string) { // any text, as of another version
		cells := Split(text)
		if got := Split(Join(cells)); !cmp.Equal(got, cells) {
			t.Errorf("got %q, want %q", got, cells)
		}
	})
}

func FuzzSheet(f *testing.F) {
	f.Add(`<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row></sheetData></worksheet>`)
	f.Add(`<worksheet><sheetData><row><c t="inlineStr"><is><t>a</t></is></c></row></sheetData><mergeCells><mergeCell ref="A1:B2"/></mergeCells></worksheet>`)
	f.Fuzz(func(t *testing.T, sheet string) {
		_, _ = read(build(t, sheet, nil)) // an error or rows, and it ends
	})
}
