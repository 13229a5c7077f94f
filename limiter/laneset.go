package limiter

import (
	"fmt"
	"strconv"
	"strings"
)

// A laneSet is a set of lanes by number. As text it is "0-99,150".
type laneSet struct{ in []bool }

func (s *laneSet) add(lane int) {
	if lane >= len(s.in) {
		s.in = append(s.in, make([]bool, lane+1-len(s.in))...)
	}
	s.in[lane] = true
}

func (s *laneSet) remove(lane int) {
	if lane < len(s.in) {
		s.in[lane] = false
	}
}

func (s laneSet) has(lane int) bool { return lane < len(s.in) && s.in[lane] }

func (s laneSet) count() (n int) {
	for range s.all() {
		n++
	}
	return n
}

// all yields the lanes in order.
func (s laneSet) all() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for lane, in := range s.in {
			if in && !yield(lane) {
				return
			}
		}
	}
}

// MarshalText writes ranges.
func (s laneSet) MarshalText() ([]byte, error) {
	var text []byte
	for from := 0; from < len(s.in); from++ {
		if !s.in[from] {
			continue
		}
		to := from
		for to+1 < len(s.in) && s.in[to+1] {
			to++
		}
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(from), 10)
		if to > from {
			text = strconv.AppendInt(append(text, '-'), int64(to), 10)
		}
		from = to
	}
	return text, nil
}

// UnmarshalText reads ranges.
func (s *laneSet) UnmarshalText(text []byte) error {
	*s = laneSet{}
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.ParseUint(first, 10, 31)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseUint(last, 10, 31)
		}
		if err != nil || to < from || to >= maxQPS {
			return fmt.Errorf("lanes %q, want ranges such as 0-99,150", part)
		}
		for lane := from; lane <= to; lane++ {
			s.add(int(lane))
		}
	}
	return nil
}
