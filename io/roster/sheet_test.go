package roster

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/workbook"
)

func file(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../testdata/rosters/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// class.xlsx was made by openpyxl, and saved as class-libreoffice.xlsx by
// LibreOffice; class-shared.xlsx and class-title.xlsx were made by XlsxWriter.
func TestSheet(t *testing.T) {
	const again = ": make the column text and fill it in again"
	for _, tt := range []struct {
		name, file string
		o          Options
		want       []string
		sheet      string
		others     []string
	}{
		{"cells of all kinds", "class.xlsx", Options{}, []string{
			"2 @TGS#2J4SZEAEL/138001380001234567 [1000]",
			"3 @TGS#2J4SZEAEL/学生一 [1001 1002]",
			"4 @TGS#2J4SZEAEL/13800138000 [1001]",
			"5 ! column 账号 (account): a number of 18 digits, of which a spreadsheet keeps 15" + again,
			`6 ! column 账号 (account): "1.38E+10" is a number as a spreadsheet shows it, its digits are lost` + again,
			"8 ! column 账号 (account): TRUE is a truth value" + again,
			`9 ! column 账号 (account): "#N/A" is an error of a formula`,
			"10 ! column 账号 (account): a formula that has not been computed: open the file in a spreadsheet and save it",
			"11 @TGS#2J4SZEAEL/00123 [1001]",
			`12 ! column 账号 (account): "2024-09-01" is a date` + again,
			"13 @TGS#3K5TAFBFM/s13 [1001]",
			"14 ! column 群组ID (group_id): is empty: the cells B13:B14 are merged, and only the first of them has their value",
			`15 ! column 标记 (marks): "0.5" is not a mark: it has a decimal point`,
		}, "7b", []string{"7c"}},
		{"saved by another program", "class-libreoffice.xlsx", Options{}, []string{
			"2 @TGS#2J4SZEAEL/138001380001234567 [1000]",
			"3 @TGS#2J4SZEAEL/学生一 [1001 1002]",
			"4 @TGS#2J4SZEAEL/13800138000 [1001]",
			"5 ! column 账号 (account): a number of 18 digits, of which a spreadsheet keeps 15" + again,
			`6 ! column 账号 (account): "1.38E+10" is a number as a spreadsheet shows it, its digits are lost` + again,
			"8 ! column 账号 (account): TRUE is a truth value" + again,
			`9 ! column 账号 (account): "#N/A" is an error of a formula`,
			"10 @TGS#2J4SZEAEL/学生一x [1001]",
			"11 @TGS#2J4SZEAEL/00123 [1001]",
			`12 ! column 账号 (account): "2024-09-01" is a date` + again,
			"13 @TGS#3K5TAFBFM/s13 [1001]",
			"14 ! column 群组ID (group_id): is empty: the cells B13:B14 are merged, and only the first of them has their value",
			`15 ! column 标记 (marks): "0.5" is not a mark: it has a decimal point`,
		}, "7b", []string{"7c"}},
		{"another sheet", "class.xlsx", Options{Sheet: "7c"}, []string{"2 @TGS#3K5TAFBFM/c1 [1000]"}, "7c", nil},
		{"a hidden sheet", "class.xlsx", Options{Sheet: "old", Format: JSONL}, []string{"2 @TGS#old/x [1000]"}, "old", nil},
		{"shared texts", "class-shared.xlsx", Options{Format: XLSX}, []string{
			"2 @TGS#2J4SZEAEL/110101199001011234 [1000]", "3 @TGS#2J4SZEAEL/00123 [1000 1001]", "4 @TGS#2J4SZEAEL/student-1 [1000]",
			"5 @TGS#2J4SZEAEL/student2 [1001]", "6 @TGS#2J4SZEAEL/student3 [1001]",
		}, "Class 7b", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, text := range []string{file(t, tt.file), packed(Gzip, file(t, tt.file))} {
				r := mustOpen[mark](t, text, tt.o)
				if diff := cmp.Diff(tt.want, showAll(readAll[mark](t, text, tt.o))); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
				if f := r.Found(); f.Sheet != tt.sheet || !cmp.Equal(f.OtherSheets, tt.others) || r.Source().Format != XLSX {
					t.Errorf("got %+v, %+v", f, r.Source())
				}
				r.Close()
				r.Close()
			}
		})
	}
}

// All cells are kept as text, also those that are not read.
func TestSheetRaw(t *testing.T) {
	rows := readAll[mark](t, file(t, "class.xlsx"), Options{})
	for i, want := range map[int]string{
		0:  "张伟,@TGS#2J4SZEAEL,138001380001234567,1000,2024-09-01",
		1:  `李娜,@TGS#2J4SZEAEL,学生一,"1001,1002",2024-09-01 08:30:00`,
		3:  "刘洋,@TGS#2J4SZEAEL,1.38001380001235E+17,1001",
		8:  "吴敏 ,@TGS#2J4SZEAEL,00123,1001",
		6:  "孙丽,@TGS#2J4SZEAEL,#N/A,1001",
		9:  "郑浩,@TGS#2J4SZEAEL,,1001",
		10: "冯雪,@TGS#3K5TAFBFM,s13,1001,\"a\nb, \"\"c\"\"\"",
	} {
		if rows[i].Raw != want {
			t.Errorf("row %d: got %q, want %q", i, rows[i].Raw, want)
		}
	}
	if got := readAll[mark](t, file(t, "class-shared.xlsx"), Options{})[4].Raw; got != ",@TGS#2J4SZEAEL,student3,1001,,a note beside the list" {
		t.Errorf("a cell beside the columns: got %q", got)
	}
	if got := mustOpen[mark](t, file(t, "class.xlsx"), Options{}).Source().Header; got != "姓名,群组ID,账号,标记,入学" {
		t.Errorf("got header %q", got)
	}
}

func TestSheetRefused(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		o          Options
		want       string
	}{
		{"header below a title", file(t, "class-title.xlsx"), Options{},
			`header: sheet "名单": no column for group_id (also known as groupid, group, 群组, 群组ID, 群ID, 群号, 群組, 群組ID, 群號); no column for account (also known as userid, memberaccount, 账号, 帐号, 帳號, 賬號, 用户ID, 用戶ID, 使用者ID, 用户账号); no column for marks (also known as mark, 标记, 標記); columns read: "七年级名单"; the columns are named in row 3: delete the rows above it`},
		{"no such sheet", file(t, "class.xlsx"), Options{Sheet: "7d"}, `header: there is no sheet "7d"; there are "说明", "7b", "old", "7c"; say which with --sheet`},
		{"several sheets", file(t, "class.xlsx"), Options{Map: map[string]string{"学号": "account"}},
			`header: no sheet has the columns; there are "说明", "7b", "old", "7c"; the nearest is sheet "7b": there is no column "学号" to take as account; columns read: "姓名", "群组ID", "账号", "标记", "入学"`},
		{"not a workbook", "PK\x03\x04\x14", Options{}, "unpack xlsx: the archive is damaged or cut off: zip: not a valid zip file"},
		{"said to be one", header, Options{Format: XLSX}, "header: the file is not an Excel workbook"},
		{"cut off", file(t, "class.xlsx")[:5000], Options{}, "unpack xlsx: the archive is damaged or cut off: zip: not a valid zip file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open[mark](strings.NewReader(tt.text), tt.o)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	old := "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + strings.Repeat("\x00", 600)
	_, err := Open[mark](strings.NewReader(old), Options{})
	if _, ok := errors.AsType[*HeaderError](err); !ok || !strings.Contains(err.Error(), "save it as .xlsx without a password") {
		t.Errorf("an old workbook: got %v", err)
	}
	// The file that it was copied to is gone.
	dir := t.TempDir()
	_, err = Open[mark](strings.NewReader(file(t, "class-title.xlsx")), Options{TempDir: dir})
	if left, _ := os.ReadDir(dir); err == nil || len(left) > 0 {
		t.Errorf("got %v, %d files left", err, len(left))
	}
}

// A cell that was refused is refused again when all cells have become texts: a
// number that has lost digits must not come back as an ID.
func TestSheetStaysBad(t *testing.T) {
	rows := readAll[mark](t, file(t, "class.xlsx"), Options{})
	var text strings.Builder
	text.WriteString("name,group_id,account,marks,since\n")
	bad := 0
	for _, row := range rows {
		if row.Err != nil {
			bad++
			cells := append(workbook.Split(row.Raw), "", "")[:5]
			text.WriteString(workbook.Join(cells) + "\n")
		}
	}
	for _, row := range readAll[mark](t, text.String(), Options{}) {
		if row.Err == nil {
			t.Errorf("good when fed back: %s", row.Raw)
		}
		bad--
	}
	if bad != 0 {
		t.Errorf("%d rows are missing", bad)
	}
}
