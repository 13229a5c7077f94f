package limiter

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// The file of a budget is a header, a fixed number of cuts, and one record per
// lane, little-endian:
//
//	header  0 magic · 8 version · 12 CRC of 0–11 · 16 lanes · 20 leased · 24 host ·
//	        32 until · 40 claimed · 48 interval · 56 hungry · 64 told · 68 renewer ·
//	        72 credit · 80 failing · 84 scale · 88 joined · 96 boot · 104 limit ·
//	        128 wishes: member, 8 at · 384 ways: id, 8 at · 508 CRC of 16–507
//	cut     0 API · 32 lanes · 36 refused · 40 at · 48 tell · 52 heard · 60 CRC of 0–59
//	lane    0 ready, API, lease, whether it is held, and shortened · 8 user · 12 CRC of 0–11
//
// Magic, version and their CRC stay where they are in all versions. Times are
// nanoseconds of the host's monotonic clock, those of lanes microseconds. Each
// record has its own CRC, so that a torn one costs one lane a second and not
// all of them; its size divides a page, so that a record never lies on two.
const (
	magic      = "cblanes\n"
	version    = 2
	headerSize = 512
	cutSize    = 64
	laneSize   = 16
	lanesAt    = headerSize + maxCuts*cutSize

	// Of the first word of a lane.
	readyBits = 52 // 142 years of microseconds
	apiBits   = 6
	leaseBits = 2
	heldBit   = 1 << (readyBits + apiBits + leaseBits)
	shortBit  = heldBit << 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is CRC-32C: zeros have a checksum that is not zero, so a hole in the
// file is not a record.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// decode fills t from b, the first bytes of the file, zeros where it is shorter.
// What is missing or torn becomes a lost lane. If prev is not nil it holds the
// bytes of which t was made, and only what differs is read. decode returns the
// number of lanes that the file says it has, 0 for a file that is empty, not
// ours, or of an older version, and an error for a file of a newer one.
func decode(b, prev []byte, t *Table) (lanes int, err error) {
	if lanes, err = decodeHeader(b, t); err != nil {
		return 0, err
	}
	for i := range t.cuts {
		at := headerSize + i*cutSize
		if prev == nil || [cutSize]byte(prev[at:]) != [cutSize]byte(b[at:]) {
			t.cuts[i] = decodeCut(b[at : at+cutSize])
		}
	}
	for i := range t.lanes {
		at := lanesAt + i*laneSize
		switch {
		case i >= lanes:
			t.lanes[i] = lane{lost: true}
		case prev == nil || [laneSize]byte(prev[at:]) != [laneSize]byte(b[at:]):
			t.lanes[i] = decodeLane(b[at : at+laneSize])
		}
	}
	return lanes, nil
}

func decodeHeader(b []byte, t *Table) (lanes int, err error) {
	t.lease, t.ways, t.wishes = lease{}, [2]way{}, [maxWaiting]wish{}
	if string(b[:8]) != magic || checksum(b[:12]) != binary.LittleEndian.Uint32(b[12:]) {
		return 0, nil
	}
	v := binary.LittleEndian.Uint32(b[8:])
	if v > version {
		return 0, fmt.Errorf("it has format %d and this program knows %d: update this program, or stop all that use the file and remove it", v, version)
	}
	if v < version || checksum(b[16:508]) != binary.LittleEndian.Uint32(b[508:]) {
		return 0, nil
	}
	lanes = int(binary.LittleEndian.Uint32(b[16:]))
	if lanes < 1 || lanes > maxQPS {
		return 0, nil
	}
	moment := func(at int) time.Duration { return time.Duration(binary.LittleEndian.Uint64(b[at:])) }
	t.lease = lease{
		leased: binary.LittleEndian.Uint32(b[20:]) != 0, host: binary.LittleEndian.Uint64(b[24:]),
		until: moment(32), claimed: moment(40), interval: moment(48), hungry: moment(56),
		told: int(binary.LittleEndian.Uint32(b[64:])), renewer: binary.LittleEndian.Uint32(b[68:]),
		credit: moment(72), failing: binary.LittleEndian.Uint32(b[80:]) != 0,
		scale: int(binary.LittleEndian.Uint32(b[84:])), joined: moment(88),
		boot: binary.LittleEndian.Uint64(b[96:]), limit: int(binary.LittleEndian.Uint32(b[104:])),
	}
	for i := range t.ways {
		t.ways[i] = way{binary.LittleEndian.Uint64(b[384+16*i:]), moment(392 + 16*i)}
	}
	for i := range t.wishes {
		t.wishes[i] = wish{binary.LittleEndian.Uint32(b[128+16*i:]), moment(136 + 16*i)}
	}
	return lanes, nil
}

func decodeCut(b []byte) cut {
	if checksum(b[:60]) != binary.LittleEndian.Uint32(b[60:]) {
		return cut{}
	}
	c := cut{
		n: int(binary.LittleEndian.Uint32(b[32:])), refused: int(binary.LittleEndian.Uint32(b[36:])),
		at: time.Duration(binary.LittleEndian.Uint64(b[40:])), tell: int(binary.LittleEndian.Uint32(b[48:])),
		heard: binary.LittleEndian.Uint32(b[52:]),
	}
	copy(c.api[:], b)
	if c.n >= maxQPS {
		c.n = 0
	}
	return c
}

func decodeLane(b []byte) lane {
	word := binary.LittleEndian.Uint64(b)
	l := lane{
		ready: time.Duration(word&(1<<readyBits-1)) * time.Microsecond,
		api:   int(word >> readyBits & (1<<apiBits - 1)),
		lease: tenure(word >> (readyBits + apiBits) & (1<<leaseBits - 1)),
		user:  binary.LittleEndian.Uint32(b[8:]),
	}
	if word&heldBit != 0 {
		l.holder = l.user
	}
	l.short = word&shortBit != 0
	if checksum(b[:12]) != binary.LittleEndian.Uint32(b[12:]) || l.api >= maxCuts || l.lease > leaving {
		return lane{lost: true}
	}
	return l
}

func encodeHeader(b []byte, t *Table, lanes int) {
	clear(b[:headerSize])
	copy(b, magic)
	put32 := func(at, n int) { binary.LittleEndian.PutUint32(b[at:], uint32(n)) }
	put64 := func(at int, n uint64) { binary.LittleEndian.PutUint64(b[at:], n) }
	flag := map[bool]int{true: 1}
	put32(8, version)
	put32(12, int(checksum(b[:12])))
	put32(16, lanes)
	put32(20, flag[t.lease.leased])
	put64(24, t.lease.host)
	put64(32, uint64(t.lease.until))
	put64(40, uint64(t.lease.claimed))
	put64(48, uint64(t.lease.interval))
	put64(56, uint64(t.lease.hungry))
	put32(64, t.lease.told)
	put32(68, int(t.lease.renewer))
	put64(72, uint64(t.lease.credit))
	put32(80, flag[t.lease.failing])
	put32(84, t.lease.scale)
	put64(88, uint64(t.lease.joined))
	put64(96, t.lease.boot)
	put32(104, t.lease.limit)
	for i, w := range t.wishes {
		put32(128+16*i, int(w.member))
		put64(136+16*i, uint64(w.at))
	}
	for i, w := range t.ways {
		put64(384+16*i, w.id)
		put64(392+16*i, uint64(w.at))
	}
	put32(508, int(checksum(b[16:508])))
}

func encodeCut(b []byte, c cut) {
	clear(b[:cutSize])
	copy(b, c.api[:])
	binary.LittleEndian.PutUint32(b[32:], uint32(c.n))
	binary.LittleEndian.PutUint32(b[36:], uint32(c.refused))
	binary.LittleEndian.PutUint64(b[40:], uint64(c.at))
	binary.LittleEndian.PutUint32(b[48:], uint32(c.tell))
	binary.LittleEndian.PutUint32(b[52:], c.heard)
	binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
}

func encodeLane(b []byte, l lane) {
	if l.lost {
		clear(b[:laneSize]) // still no record
		return
	}
	word := uint64(l.ready/time.Microsecond) | uint64(l.api)<<readyBits | uint64(l.lease)<<(readyBits+apiBits)
	if l.short {
		word |= shortBit
	}
	if l.holder != 0 {
		word |= heldBit
		l.user = l.holder
	}
	binary.LittleEndian.PutUint64(b, word)
	binary.LittleEndian.PutUint32(b[8:], l.user)
	binary.LittleEndian.PutUint32(b[12:], checksum(b[:12]))
}
