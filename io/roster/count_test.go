package roster

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCount(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Count
		err  string
	}{
		{"0", 0, ""},
		{"7", 7, ""},
		{" 7\t", 7, ""},
		{"4294967295", math.MaxUint32, ""},
		{"4294967296", 0, `"4294967296" is not a count: too large`},
		{"42949672950", 0, `"42949672950" is not a count: too large`},
		{"18446744073709551616", 0, `"18446744073709551616" is not a count: too large`},
		{"", 0, "no number"},
		{"  ", 0, "no number"},
		{"00", 0, `"00" is not a count: leading zero`},
		{"05", 0, `"05" is not a count: leading zero`},
		{"+5", 0, `"+5" is not a count: it has a sign`},
		{"-0", 0, `"-0" is not a count: it has a sign`},
		{"-1", 0, `"-1" is not a count: it has a sign`},
		{"1e3", 0, `"1e3" is not a count: it has an exponent`},
		{"3.0", 0, `"3.0" is not a count: it has a decimal point`},
		{"3.", 0, `"3." is not a count: it has a decimal point`},
		{"1_0", 0, `"1_0" is not a count: only digits can stand here`},
		{"1,000", 0, `"1,000" is not a count: only digits can stand here`},
		{"1 000", 0, `"1 000" is not a count: only digits can stand here`},
		{"0x10", 0, `"0x10" is not a count: only digits can stand here`},
		{"５", 0, `"５" is not a count: only digits can stand here`},
		{"7\n", 0, `"7\n" is not a count: only digits can stand here`},
		{"many", 0, `"many" is not a count: only digits can stand here`},
	} {
		got := Count(0)
		if err := got.UnmarshalCSV(tt.text); errText(err) != tt.err || got != tt.want {
			t.Errorf("%q: got %v, %v, want %v, %v", tt.text, got, err, tt.want, tt.err)
		}
		again := Count(0) // the same text in a JSON string
		if err := again.UnmarshalJSON([]byte(jsonString(tt.text))); errText(err) != tt.err || again != tt.want {
			t.Errorf("%q in JSON: got %v, %v, want %v, %v", tt.text, again, err, tt.want, tt.err)
		}
	}
}

func TestCountJSON(t *testing.T) {
	for text, want := range map[string]string{
		"0": "", "4294967295": "", "7": "",
		"4294967296": "too large", "-0": "sign", "-1": "sign", "1e3": "exponent", "1E3": "exponent", "3.0": "decimal point",
		"null": "is null", "true": "is true", "[1]": "is an array", "{}": "is an object",
	} {
		var c Count
		err := c.UnmarshalJSON([]byte(text))
		if (err == nil) != (want == "") || !strings.Contains(errText(err), want) {
			t.Errorf("%s: got %v, %v, want an error with %q", text, c, err, want)
		}
	}
	var v struct{ N Count } // also in the hands of encoding/json
	if err := json.Unmarshal([]byte(`{"N": 12 }`), &v); err != nil || v.N != 12 {
		t.Errorf("got %+v, %v", v, err)
	}
}

// A count is what strconv writes, and nothing else.
func TestCountOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[0-9]{1,11}`), rapid.StringMatching(`[-+0-9._eEx]{0,5}`),
			rapid.Map(rapid.Uint32(), func(n uint32) string { return fmt.Sprint(n) })).Draw(t, "text")
		n, parseErr := strconv.ParseUint(text, 10, 32)
		sound := parseErr == nil && strconv.FormatUint(n, 10) == text
		var got Count
		if err := got.UnmarshalCSV(text); (err == nil) != sound || sound && uint64(got) != n {
			t.Fatalf("%q: got %v, %v, strconv says %v, %v", text, got, err, n, parseErr)
		}
	})
}

// unread is a row of counts.
type unread struct {
	Group   Group   `csv:"group_id"`
	Account Account `csv:"account"`
	Count   Count   `csv:"unread_msg_num"`
}

func TestCountInFiles(t *testing.T) {
	rows := readAll[unread](t, "群组ID,Member_Account,UnreadMsgNum\ng,ann,8\ng,bob,1e3\ng,cat,\ng,dan,0\n", Options{})
	var got []string
	for _, row := range rows {
		got = append(got, fmt.Sprint(row.Value.Account, " ", row.Value.Count, " ", errText(row.Err)))
	}
	want := []string{"ann 8 ", ` 0 column UnreadMsgNum (unread_msg_num): "1e3" is not a count: it has an exponent`,
		" 0 column UnreadMsgNum (unread_msg_num): no number", "dan 0 "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	rows = readAll[unread](t, `{"group_id":"g","account":"ann","unread":5}`+"\n"+`{"group_id":"g","account":"ann","unread_msg_num":"5"}`+"\n", Options{Format: JSONL})
	for _, row := range rows {
		if row.Err != nil || row.Value.Count != 5 {
			t.Errorf("got %+v", row)
		}
	}
}
