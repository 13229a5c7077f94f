package chatsim

import (
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
)

// faults decides which calls are spoiled. Each call draws one number for
// each fault, whether it concerns the call or not, so that what befalls the
// n-th call depends on the seed and on n only.
type faults struct {
	list []Fault
	seen []int // calls that each was asked about
	rng  *rand.Rand
}

func newFaults(list []Fault, seed uint64) faults {
	return faults{list, make([]int, len(list)), rand.New(rand.NewPCG(seed, streamFaults))}
}

func (f *faults) next(command string) *Fault {
	var hit *Fault
	for i := range f.list {
		draw := f.rng.Float64()
		one := &f.list[i]
		if one.Command != "" && one.Command != command {
			continue
		}
		f.seen[i]++
		n := f.seen[i] - one.After
		if n < 1 || one.Count > 0 && n > one.Count {
			continue
		}
		if hit == nil && (one.Rate == 0 || draw < one.Rate) {
			hit = one
		}
	}
	return hit
}

// spoil plays the fault of a call. A code is answered by the same service
// that checks the UserSig, so a wrong one is refused first; what happens on
// the network happens before.
func (s *Sim) spoil(c *call, body []byte) answer {
	f := c.fault
	switch f.Kind {
	case KindSlow, KindCut, KindLost, KindAction1, KindStuck, KindMembers:
		return spoilAnswer(f, s.serve(c, body))
	case KindCode, KindOverQuota, KindFailZero, KindNoCode:
		if no := s.authenticate(c); no != nil {
			return s.refused(c, no)
		}
	}
	a := answer{code: NoCode}
	if f.Applied && f.Kind != KindOverQuota {
		a.code = s.serve(c, body).code
	}
	a.status, a.contentType, a.delay = 200, typeJSON, c.delay+f.Delay
	switch f.Kind {
	case KindCode, KindOverQuota:
		no := refuse(f.Code, "")
		if f.Info != "" {
			no.info = strings.ReplaceAll(f.Info, "{usersig}", c.query.sig)
		}
		a.body, a.code = encodeRefusal(c, no), f.Code
	case KindFailZero:
		a.body, a.code = encodeRefusal(c, refuse(0, "")), 0
	case KindNoCode:
		a.body = []byte(`{"ActionStatus":"OK","Message":"welcome"}`)
	case KindGarbage:
		a.body = []byte("<html><body>Please log in to the network of the hotel</body></html>\n")
	case KindStatus:
		a.status, a.contentType = f.Status, "text/html"
		a.body = []byte("<html><head><title>" + strconv.Itoa(f.Status) + "</title></head><body><hr>openresty</body></html>\n")
	case KindReset:
		a.end = endReset
	case KindHang:
		a.delay, a.hang, a.end = c.delay, f.Delay, endReset
	}
	if a.status/100 == 3 {
		a.location = (&url.URL{Scheme: "https", Host: "console.example.com", Path: "/login"}).String()
	}
	return a
}

// spoilAnswer spoils the right answer on its way back.
func spoilAnswer(f *Fault, a answer) answer {
	a.delay += f.Delay
	switch f.Kind {
	case KindCut:
		a.end = endCut
	case KindLost:
		a.end = endReset
	case KindAction1:
		a.body = []byte(strings.Replace(string(a.body), `"ActionStatus"`, `"Action1Status"`, 1))
	}
	return a
}
