package limiter

import "errors"

// errGated is returned to a call of an API with lanes out of use, if calls of other
// APIs may go before it.
var errGated = errors.New("lanes of this API are out of use")

// gate is where calls of an API wait that has lanes out of use.
func (b *budget) gate(api string) *line {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gates[api] == nil {
		b.gates[api] = &line{}
	}
	return b.gates[api]
}

// isGated says whether calls of an API must still wait. If that cannot be known,
// who takes a lane finds out why.
func (b *budget) isGated(api string) (gated bool) {
	_ = b.update(func(t *Table) { gated = t.gated(b.tag(api)) })
	return gated
}

// tag is the API as the table knows it: "" if all calls here are alike.
func (b *budget) tag(api string) string {
	if b.shared {
		return api
	}
	return ""
}
