package limiter

import "time"

// answersNeeded is how many answers must be known before the smallest service
// time among them is trusted. The first warmUp of them only count: a service
// time is the round trip less the client's fastest connect so far, and the
// first connects, made side by side, are slow ones.
const (
	answersNeeded = 100
	warmUp        = 20
)

// service learns how long before its answer a request has reached the server.
type service struct {
	answers int
	min     time.Duration
}

// note records one answer. An unknown service (0) counts: nothing is known to lie
// between arrival and answer, and so it may be nothing.
func (s *service) note(d time.Duration) {
	s.answers++
	d = max(d, 0)
	if s.answers == warmUp+1 || s.answers > warmUp && d < s.min {
		s.min = d
	}
}

// least is how long before its answer any request has reached the server at
// the latest; 0 until enough answers are known.
func (s *service) least() time.Duration {
	if s.answers < answersNeeded {
		return 0
	}
	return s.min
}
