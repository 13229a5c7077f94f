package export

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{
		"members.csv":           {CSV, ""},
		"a/b.c/Members.CSV.GZ":  {CSV, Gzip},
		"members.jsonl":         {JSONL, ""},
		"members.ndjson.zst":    {JSONL, Zstd},
		"三年二班.JsonL.gz":         {JSONL, Gzip},
		"x.gz.csv":              {CSV, ""},
		"members.2026.Xlsx":     {XLSX, ""},
		".csv":                  {CSV, ""},
		"":                      {},
		"-":                     {},
		"members":               {},
		"members.gz":            {},
		"csv":                   {},
		"members.csv.bz2":       {},
		"members.xlsx.gz":       {},
		"members.csv.gz.zst":    {},
		"members.xls":           {},
		"dir.csv/members":       {},
		"members.csv ":          {},
		"members.csv.part-1234": {},
	} {
		got, err := FormatOf(name)
		if got != want || (err == nil) != (want != Format{}) {
			t.Errorf("%q: got %+v, %v, want %+v", name, got, err, want)
		}
		for _, end := range []string{".csv", ".jsonl", ".ndjson", ".xlsx", ".gz", ".zst"} {
			if err != nil && !strings.Contains(err.Error(), end) {
				t.Errorf("%q: %v does not say that there is %s", name, err, end)
			}
		}
	}
}

func TestParseFormat(t *testing.T) {
	for text, want := range map[string]Format{
		"csv": {CSV, ""}, "CSV.GZ": {CSV, Gzip}, "jsonl": {JSONL, ""}, "ndjson.zst": {JSONL, Zstd}, "xlsx": {XLSX, ""},
		"": {}, ".csv": {}, "csv.": {}, "xlsx.gz": {}, "gz": {}, "csv.gz.gz": {}, "tsv": {}, " csv": {},
	} {
		got, err := ParseFormat(text)
		if got != want || (err == nil) != (want != Format{}) {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
		if err == nil {
			again, err := ParseFormat(got.String())
			if diff := cmp.Diff(got, again); diff != "" || err != nil {
				t.Errorf("%q: as String has it: %v, %s", text, err, diff)
			}
		}
	}
}
