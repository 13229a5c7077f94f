package jobs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

func drawMember(rt *rapid.T) chat.Member {
	m := chat.Member{Account: rapid.StringN(1, 8, 32).Draw(rt, "account")}
	for range rapid.IntRange(0, 4).Draw(rt, "fields") {
		m.Fields = append(m.Fields, chat.Field{
			Name:  rapid.SampledFrom([]string{"Role", "NameCard", "", "学", "AppMemberDefinedData"}).Draw(rt, "name"),
			Value: rapid.SliceOf(rapid.Byte()).Draw(rt, "value"),
		})
	}
	return m
}

// What goes into a basket comes out of its pieces, each member once, in order.
func TestBasketKeepsEachMemberOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newMemoryLedger(nil)
		b := newBasket(l, nil)
		var want []chat.Member
		seen := map[string]bool{}
		for range rapid.IntRange(0, 6).Draw(rt, "pages") {
			page := rapid.SliceOfN(rapid.Custom(drawMember), 0, 6).Draw(rt, "page")
			if rapid.IntRange(0, 5).Draw(rt, "large") == 0 {
				page = append(page, memberOf("large", "NameCard", strings.Repeat("x", pieceBytes)))
			}
			fresh := 0
			for _, m := range page {
				if !seen[m.Account] {
					seen[m.Account] = true
					want, fresh = append(want, m), fresh+1
				}
			}
			if n, err := b.add(t.Context(), page); err != nil || n != fresh {
				rt.Fatalf("%d are new (%v), want %d", n, err, fresh)
			}
		}
		var r receipt
		if err := b.fill(t.Context(), &r); err != nil {
			rt.Fatal(err)
		}
		var got, asked []byte
		for _, span := range r.Spans {
			if err := eachMember(l.kept[span.Offset], func(m chat.Member) error { got = appendMember(got, m); return nil }); err != nil {
				rt.Fatal(err)
			}
		}
		for _, m := range want {
			asked = appendMember(asked, m)
		}
		if !bytes.Equal(asked, got) || r.Members != int64(len(want)) {
			rt.Errorf("%d members with %d bytes, want %d with %d", r.Members, len(got), len(want), len(asked))
		}
	})
}

// A big group is kept in pieces, so that memory holds no more than one.
func TestBasketKeepsPieces(t *testing.T) {
	l := newMemoryLedger(nil)
	b := newBasket(l, nil)
	for i := range 5000 {
		if _, err := b.add(t.Context(), []chat.Member{memberOf(fmt.Sprintf("user%d", i), "NameCard", `"`+strings.Repeat("x", 200)+`"`)}); err != nil {
			t.Fatal(err)
		}
		if len(b.raw) > pieceBytes {
			t.Fatalf("%d bytes are in memory", len(b.raw))
		}
	}
	if n := len(l.kept); n < 3 || n > 1_400_000/pieceBytes {
		t.Errorf("%d pieces", n)
	}
}

func TestBasketChooses(t *testing.T) {
	l := newMemoryLedger(nil)
	b := newBasket(l, func(m chat.Member) bool { return roleOf(m) == "Owner" })
	page := []chat.Member{memberOf("ann", "Role", `"Owner "`, "AppMemberDefinedData", `[{"Key":"b"},{"Key":"a"}]`), memberOf("bob", "Role", `"Member"`, "AppMemberDefinedData", `[{"Key":"c"}]`)}
	if fresh, err := b.add(t.Context(), page); fresh != 2 || err != nil {
		t.Errorf("%d are new, %v", fresh, err)
	}
	var r receipt
	if err := b.fill(t.Context(), &r); err != nil || r.Members != 1 || !slices.Equal(r.Keys, []string{"a", "b"}) || len(b.seen) != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestBasketFullDisk(t *testing.T) {
	b := newBasket(fullDisk{}, nil)
	if _, err := b.add(t.Context(), []chat.Member{memberOf("a", "N", strings.Repeat("x", pieceBytes))}); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("got %v", err)
	}
}

// Broken pieces are errors, never a panic, and never much memory.
func FuzzEachMember(f *testing.F) {
	good := appendMember(appendMember(nil, memberOf("ann", "Role", `"Owner"`)), memberOf("bob"))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{3, 'a', 'n', 'n', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := eachMember(raw, func(chat.Member) error { return nil }); err != nil && !errors.Is(err, errPiece) {
			t.Errorf("got %v", err)
		}
		var again []byte
		err := eachMember(s2.Encode(nil, raw), func(m chat.Member) error { again = appendMember(again, m); return nil })
		switch {
		case err != nil && !errors.Is(err, errPiece):
			t.Errorf("got %v", err)
		case err == nil && len(again) > len(raw): // numbers may be longer than they need to be
			t.Errorf("%d bytes became %d", len(raw), len(again))
		}
	})
}

func TestEachMemberOfABrokenPiece(t *testing.T) {
	whole := appendMember(nil, memberOf("ann", "Role", `"Owner"`, "NameCard", `""`))
	for n := 1; n < len(whole); n++ {
		err := eachMember(s2.Encode(nil, whole[:n]), func(m chat.Member) error { t.Errorf("of %d bytes: %+v", n, m); return nil })
		if !errors.Is(err, errPiece) {
			t.Errorf("of %d bytes: got %v", n, err)
		}
	}
	stop := errors.New("enough")
	if err := eachMember(s2.Encode(nil, whole), func(chat.Member) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func FuzzReceipt(f *testing.F) {
	note, err := receipt{Type: "Public", Members: 3, First: 3, Last: -1, Pages: 1, Reads: 1, Grade: GradeExact, Keys: []string{"a"}, Spans: []ledger.Span{{Offset: 1, Length: 2}}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(note)
	f.Add([]byte("{}"))
	f.Add([]byte("null"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, note []byte) {
		r, err := decodeReceipt(note)
		if err != nil {
			return
		}
		once, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		r, err = decodeReceipt(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if again, err := r.encode(); err != nil || !bytes.Equal(once, again) {
			t.Errorf("%s became %s (%v)", once, again, err)
		}
	})
}
