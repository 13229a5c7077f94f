package limiter

import (
	"slices"
	"time"
)

const (
	// answersNeeded is how many answers must be known before round trips are
	// trusted. The first warmUp of them only count: they may be of connections
	// that are being made side by side.
	answersNeeded = 100
	warmUp        = 20
	enough        = 500

	// kept is how many of the last round trips give the usual one, which is found
	// anew after sorted of them.
	kept   = 128
	sorted = 16

	// memory is after how many answers the smallest round trip is forgotten, if it
	// does not come again: the way may have become longer, or one was measured
	// too short.
	memory = 1000
)

// trips learns by how much the rest of a lane may be shorter than a second after
// the answer: by the fastest way to the server, which the next call takes at
// least, and the fastest service and way back, which this one took.
//
// Only their sum can be seen, and if both ways are uneven, even the smallest of many
// sums is more than the sum of the smallest. So a part of what the usual round
// trip is longer than the smallest is taken off: half, and a fourth when enough
// answers are known. (If both ways spread evenly over h, the smallest of n sums
// is h·√(2/n) too long, give or take as much, and the usual one h.)
type trips struct {
	answers int
	min     time.Duration   // of the last memory answers and more, up to twice as many
	newer   time.Duration   // of the later ones of these
	counts  int             // how many these are
	last    []time.Duration // up to kept
	usual   time.Duration   // their median
}

// note records one answer. An unknown round trip (0) teaches nothing.
func (s *trips) note(d time.Duration) {
	if d <= 0 {
		return
	}
	if s.answers++; s.answers <= warmUp {
		return
	}
	if len(s.last) == 0 || d < s.min {
		s.min = d
	}
	if s.counts == 0 || d < s.newer {
		s.newer = d
	}
	if s.counts++; s.counts == memory {
		s.min, s.counts = s.newer, 0
	}
	if len(s.last) < kept {
		s.last = append(s.last, d)
	} else {
		s.last[s.answers%kept] = d
	}
	if s.answers%sorted == 0 || s.answers == answersNeeded {
		order := slices.Sorted(slices.Values(s.last))
		s.usual = order[len(order)/2]
	}
}

// credit is by how much a rest may be shorter; 0 until enough answers are known.
func (s *trips) credit() time.Duration {
	if s.answers < answersNeeded {
		return 0
	}
	spread := max(0, s.usual-s.min)
	if s.answers < enough {
		return max(0, s.min-spread/2)
	}
	return max(0, s.min-spread/4)
}
