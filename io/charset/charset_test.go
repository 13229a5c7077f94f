package charset

import (
	"strings"
	"testing"
)

func named(t *testing.T, name string) *Charset {
	t.Helper()
	c, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNamed(t *testing.T) {
	for name, want := range map[string]string{
		"": UTF8, "UTF-8": UTF8, "utf8": UTF8, "utf-16": UTF16LE, "UTF-16BE": UTF16BE, "GB2312": "gbk", "gbk": "gbk", "GB18030": "gb18030",
		"Big5": "big5", "sjis": "shift_jis", "EUC-KR": "euc-kr", "latin1": "windows-1252", "ascii": "windows-1252",
	} {
		if got := named(t, name).Name; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"klingon", "iso-2022-jp", "hz-gb-2312", "x-user-defined"} {
		if c, err := Named(name); err == nil {
			t.Errorf("%s: got %s, want an error", name, c.Name)
		}
	}
}

func TestThereAndBack(t *testing.T) {
	for name, text := range map[string]string{
		UTF8: "账号,€", UTF16LE: "\ufeff账号,😀", UTF16BE: "账号", "gb18030": "账号,帳號,€,😀", "gbk": "账号帳號",
		"big5": "帳號,標記", "shift_jis": "番号,カナ,ｱ", "euc-kr": "학번,똠", "windows-1252": "Prénom,€",
	} {
		c := named(t, name).Another()
		b := c.Append([]byte("x"), text)
		if got := c.Decode(string(b[1:])); got != text || b[0] != 'x' {
			t.Errorf("%s: got %q, want %q", name, got, text)
		}
	}
}

func TestWhatCannotBe(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"big5", "帳😀,a", "\xb1b?,a"}, {"windows-1252", "é账€", "\xe9?\x80"}, {"gbk", "😀\ufffd!", "??!"}, {"shift_jis", "账", "?"},
	} {
		if got := string(named(t, tt.name).Append(nil, tt.text)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct{ name, bytes string }{
		{"gb18030", "a\xff"}, {"gbk", "\x81,"}, {"big5", "\xa4"}, {"shift_jis", "\x81\x20"}, {"euc-kr", "\xc9\x20"}, {UTF16LE, "\x00\xd8a\x00"}, {UTF16BE, "\x00a\x00"},
	} {
		if got := named(t, tt.name).Decode(tt.bytes); !strings.ContainsRune(got, '\ufffd') {
			t.Errorf("%s: %q: got %q", tt.name, tt.bytes, got)
		}
	}
}

func TestASCII(t *testing.T) {
	for text, want := range map[string]string{"": "", "12345678|9": "12345678|9", "1234567é": "1234567?", "12345678\xff": "12345678?", "é": "?"} {
		if got := ASCII(text); got != want || IsASCII(text) != (text == want) {
			t.Errorf("%q: got %q, %v", text, got, IsASCII(text))
		}
	}
}

// A bar may be the second byte of a character.
func TestHide(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"gbk", "亅|倈|", "\x81\x01|\x82\x01|"}, {"gb18030", "😀亅|", "\x949\xfc6\x81\x01|"}, {"big5", "四|弋", "\xa5\x01|\xa4\x01"},
		{"shift_jis", "ポ|ｱ|", "\x83\x01|\xb1|"}, {"gbk", "亅\x01\x02|", "\x81\x03\x01\x02|"}, {"gbk", "a|b", "a|b"}, {"euc-kr", "똠|", "\x8cc|"}, {UTF8, "账|", "账|"},
	} {
		c := named(t, tt.name)
		text := string(c.Append(nil, tt.text))
		hidden, with := c.Hide(text, '|')
		if hidden != tt.want || Show(hidden, '|', with) != text {
			t.Errorf("%s: got %q, and %q back", tt.text, hidden, Show(hidden, '|', with))
		}
	}
}

func FuzzHide(f *testing.F) {
	f.Add("亅|", uint8(0))
	f.Add("\x81|\x81\x30\x81\x30|\xff|", uint8(1))
	f.Fuzz(func(t *testing.T, text string, which uint8) {
		names := []string{"gbk", "gb18030", "big5", "shift_jis", "euc-kr", UTF8}
		c := named(t, names[int(which)%len(names)])
		hidden, with := c.Hide(text, '|')
		if got := Show(hidden, '|', with); got != text || len(hidden) != len(text) {
			t.Errorf("got %q, want %q", got, text)
		}
	})
}
