package roster

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMarks(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Marks
		err  string
	}{
		{"1000", Marks{1000}, ""},
		{" 1000 ", Marks{1000}, ""},
		{"1000,1001", Marks{1000, 1001}, ""},
		{"1001;1000|500 600", Marks{1001, 1000, 500, 600}, ""},
		{",, 1000 ;|\t1001,", Marks{1000, 1001}, ""},
		{"1000,1001,1000", Marks{1000, 1001}, ""},
		{"1 2 3 4 5 6 7 8 9 10 11", Marks{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, ""},
		{"0", Marks{0}, ""}, // what a mark may be is checked elsewhere
		{"18446744073709551615", Marks{1<<64 - 1}, ""},
		{"18446744073709551616", nil, `"18446744073709551616" is not a mark: too large`},
		{"99999999999999999999999", nil, `"99999999999999999999999" is not a mark: too large`},
		{"", nil, "no mark"},
		{" , ", nil, "no mark"},
		{"010", nil, `"010" is not a mark: leading zero`},
		{"00", nil, `"00" is not a mark: leading zero`},
		{"1,000", nil, `"000" is not a mark: leading zero`},
		{"0x10", nil, `"0x10" is not a mark: only digits can stand here`},
		{"1_0", nil, `"1_0" is not a mark: only digits can stand here`},
		{"3.9", nil, `"3.9" is not a mark: it has a decimal point`},
		{"1000.0", nil, `"1000.0" is not a mark: it has a decimal point`},
		{"1e3", nil, `"1e3" is not a mark: it has an exponent`},
		{"1.38E+10", nil, `"1.38E+10" is not a mark: it has a decimal point`},
		{"-1", nil, `"-1" is not a mark: it has a sign`},
		{"+1000", nil, `"+1000" is not a mark: it has a sign`},
		{"１０００", nil, `"１０００" is not a mark: only digits can stand here`},
		{"1000，1001", nil, `"1000，1001" is not a mark: only digits can stand here`},
		{"[1000]", nil, `"[1000]" is not a mark: only digits can stand here`},
		{"1000 vip", nil, `"vip" is not a mark: only digits can stand here`},
	} {
		var got Marks
		err := got.UnmarshalCSV(tt.text)
		if text := errText(err); text != tt.err || !cmp.Equal(got, tt.want) {
			t.Errorf("%q: got %v, %v, want %v, %v", tt.text, got, text, tt.want, tt.err)
		}
		var again Marks // the same text in a JSON string
		if err := again.UnmarshalJSON([]byte(jsonString(tt.text))); errText(err) != tt.err || !cmp.Equal(again, tt.want) {
			t.Errorf("%q in JSON: got %v, %v, want %v, %v", tt.text, again, err, tt.want, tt.err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The types are also right in the hands of encoding/json.
func TestStandardJSON(t *testing.T) {
	var v struct {
		A Account
		G Group
		M Marks
	}
	if err := json.Unmarshal([]byte(`{"A":" a ","G":"@TGS#1","M":[ 1000 , 1001 ]}`), &v); err != nil {
		t.Fatal(err)
	}
	if v.A != "a" || v.G != "@TGS#1" || !cmp.Equal(v.M, Marks{1000, 1001}) {
		t.Errorf("got %+v", v)
	}
	for _, text := range []string{`{"A":5}`, `{"A":null}`, `{"G":true}`, `{"M":{}}`, `{"M":[1,"2"]}`, `{"M":false}`} {
		if err := json.Unmarshal([]byte(text), &v); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	for _, text := range []string{"", "[", `"`, "[1"} { // no JSON at all
		for _, u := range []jsonUnmarshaler{&v.A, &v.G, &v.M} {
			if err := u.UnmarshalJSON([]byte(text)); err == nil && text != "[1" {
				t.Errorf("%T: %q: no error", u, text)
			}
		}
	}
}

func TestQuoteIsBounded(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 1000), strings.Repeat("群", 1000), strings.Repeat("\xff", 1000)} {
		if got := quote(s); len(got) > 300 || strings.ContainsAny(got, "\n\r") {
			t.Errorf("got %d bytes: %s", len(got), got)
		}
	}
}

// A line may have as many marks as fit.
func TestMarksMany(t *testing.T) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "%d %d ", 1000+i, 1000+i/2)
	}
	var m Marks
	if err := m.UnmarshalCSV(text.String()); err != nil || len(m) != 100_000 || m[0] != 1000 || m[99_999] != 100_999 {
		t.Errorf("got %d marks, %v", len(m), err)
	}
}
