package ledger

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func drawEntries(t *rapid.T) []Entry {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry {
		return Entry{
			Account: rapid.String().Draw(t, "account"),
			Data:    rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "data"),
			Rows:    rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 3).Draw(t, "rows"),
		}
	}), 1, 30).Draw(t, "entries")
}

func TestEntriesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawEntries(t)
		numbers, lo, hi, rows := encodeNums(want, "r")
		got, err := decodeEntries(encodeAsks(want, "x"), "x", "r", numbers, len(want))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
		n := int64(0)
		for _, e := range want {
			for _, num := range e.Rows {
				if num < lo || num > hi {
					t.Fatalf("row %d is not in [%d, %d]", num, lo, hi)
				}
				n++
			}
		}
		if n != rows {
			t.Fatalf("got %d rows, want %d", rows, n)
		}
	})
}

func TestOutcomesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Outcome {
			return Outcome{
				rapid.SampledFrom([]string{"", "refused"}).Draw(t, "class"), rapid.IntRange(-2, 70000).Draw(t, "code"),
				rapid.StringN(0, 2, -1).Draw(t, "error"), rapid.IntRange(0, 2).Draw(t, "attempts"),
			}
		})).Draw(t, "outcomes")
		different, which, err := decodeOutcomes(encodeOutcomes(want, "x"), "x", len(want), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got := different[which[i]]; got != want[i] {
				t.Fatalf("outcome %d: got %v, want %v", i, got, want[i])
			}
		}
	})
}

func TestOutcomesAreSmall(t *testing.T) {
	if n := len(encodeOutcomes(make([]Outcome, 500), "")); n > 16 {
		t.Errorf("500 successes take %d bytes", n)
	}
	if n := len(encodeOutcomes(someOutcomes(500), "")); n > 300 {
		t.Errorf("500 outcomes with 50 failures take %d bytes", n)
	}
}

// Junk with a right checksum is an error, not a panic or a hang.
func FuzzDecode(f *testing.F) {
	entries := []Entry{{"ann", []byte{1}, []int64{4, 2}}, {"bob", nil, []int64{3}}}
	numbers, _, _, _ := encodeNums(entries, "")
	for _, blob := range [][]byte{numbers, encodeAsks(entries, ""), encodeOutcomes(someOutcomes(9), ""), seal(nil, "")} {
		f.Add(blob[:len(blob)-4], uint8(2))
	}
	f.Fuzz(func(t *testing.T, junk []byte, n uint8) {
		blob := seal(append([]byte(nil), junk...), "")
		entries, err := decodeEntries(blob, "", "", numbers, 2)
		if err == nil && len(entries) != 2 || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("entries: got %v, %v", entries, err)
		}
		if list, err := decodeEntries(encodeAsks(make([]Entry, n), ""), "", "", blob, int(n)); err == nil {
			if again, _, _, _ := encodeNums(list, ""); len(again) > len(blob)+9*len(junk)+1 {
				t.Errorf("%d bytes came from %d", len(again), len(blob))
			}
		}
		if different, which, err := decodeOutcomes(blob, "", int(n), nil); err == nil {
			for _, k := range which {
				_ = different[k]
			}
		}
		_ = block{"", 0, int64(n), blob}.each(func(int64, int64, string) bool { return true })
	})
}

// A blob is opened by its owner alone, or by all if it is of an older version.
func TestOwners(t *testing.T) {
	of := owner("r1")
	for _, belongs := range []string{of.asks(1, 0, "g"), of.asks(1, 0, "h"), of.asks(2, 0, "g"), of.asks(1, 1, "g"), of.outcomes(1), of.note(1),
		of.entry(1, 1), of.numbers(), of.refused(1), of.source(1), owner("r2").asks(1, 0, "g")} {
		_, err := unseal(seal([]byte("text"), belongs), of.asks(1, 0, "g"))
		if (err == nil) != (belongs == of.asks(1, 0, "g")) {
			t.Errorf("%s: got %v", belongs, err)
		}
		if _, err := unseal(seal([]byte("text"), ""), belongs); err != nil {
			t.Errorf("of an older version: %v", err)
		}
	}
}
