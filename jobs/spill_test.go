package jobs

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Rows come out of a partition as they went in, whether they were spilled or not. What was
// spilled leaves nothing in memory.
func TestSpill(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const parts = 4
		s := newSpill(t.TempDir(), parts, rapid.SampledFrom([]int{1, 100, 1 << 20}).Draw(rt, "memory"))
		defer s.close()
		var want [parts][]string
		for num := range rapid.IntRange(0, 100).Draw(rt, "rows") {
			part := rapid.IntRange(0, parts-1).Draw(rt, "part")
			group, account := fmt.Sprintf("g%d", part), fmt.Sprintf("a%d", num)
			if err := s.add(part, int64(num), int64(2*num), group, account, []byte{byte(num)}); err != nil {
				rt.Fatal(err)
			}
			want[part] = append(want[part], fmt.Sprint(num, 2*num, group, account, num))
		}
		if err := s.drain(); err != nil {
			rt.Fatal(err)
		}
		if s.file != nil {
			for part, b := range s.bufs {
				if b != nil {
					rt.Errorf("%d bytes of partition %d are in memory", cap(b), part)
				}
			}
		}
		for part := range parts {
			var got []string
			for r, err := range s.read(part) {
				if err != nil {
					rt.Fatal(err)
				}
				got = append(got, fmt.Sprint(r.num, r.line, string(r.group), string(r.account), r.data[0]))
			}
			if fmt.Sprint(got) != fmt.Sprint(want[part]) {
				rt.Errorf("partition %d: got %v, want %v", part, got, want[part])
			}
		}
	})
}
