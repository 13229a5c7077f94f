package limiter

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Share is the part of a budget that those who share its lanes use together:
// a third on each of three hosts that know of each other, or less than all to
// leave room for other traffic of the app. The zero Share is all of it.
type Share struct{ Part, Whole int }

// maxWhole bounds how small a share can be, and with it how long a lane rests.
const maxWhole = 1000

// ParseShare reads "1/3" or "60%". "" is all.
func ParseShare(text string) (Share, error) {
	var s Share
	if text == "" {
		return s, nil
	}
	part, whole, isFraction := strings.Cut(text, "/")
	if percent, ok := strings.CutSuffix(text, "%"); ok && !isFraction {
		part, whole = percent, "100"
	}
	var err error
	if s.Part, err = strconv.Atoi(strings.TrimSpace(part)); err == nil {
		s.Whole, err = strconv.Atoi(strings.TrimSpace(whole))
	}
	if err != nil || s.check() != nil || s.Whole == 0 {
		return Share{}, fmt.Errorf("share %q, want a part such as 1/3 or 60%%", text)
	}
	return s, nil
}

func (s Share) check() error {
	if s == (Share{}) || 1 <= s.Part && s.Part <= s.Whole && s.Whole <= maxWhole {
		return nil
	}
	return fmt.Errorf("share %d/%d, want a part of 1/%d to 1/1", s.Part, s.Whole, maxWhole)
}

// of is how many lanes the share of n is, rounded down so that shares of several
// hosts never add up to more, and how long a call counts. Where less than one
// lane would be left, that one rests longer.
func (s Share) of(n int) (lanes int, second time.Duration) {
	if s == (Share{}) {
		return n, time.Second
	}
	if lanes = n * s.Part / s.Whole; lanes > 0 {
		return lanes, time.Second
	}
	return 1, time.Second * time.Duration(s.Whole) / time.Duration(n*s.Part)
}
