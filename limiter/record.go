package limiter

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// The file of a budget is a header and one record per lane, little-endian:
//
//	header  0 magic · 8 version · 12 CRC of 0–11 · 16 lanes · 20 cut · 24 cut at · 60 CRC of 16–59
//	lane    0 ready · 8 holder · 12 CRC of 0–11
//
// Magic, version and their CRC stay where they are in all versions. Times are
// nanoseconds of the host's monotonic clock. Each record has its own CRC, so
// that a torn one costs one lane a second and not all of them; its size divides
// a page, so that a record never lies on two.
const (
	magic      = "cblanes\n"
	version    = 1
	headerSize = 64
	laneSize   = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is CRC-32C: zeros have a checksum that is not zero, so a hole in the
// file is not a record.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// decode fills t from b, the first bytes of the file, zeros where it is shorter.
// What is missing or torn becomes a lost lane. If prev is not nil it holds the
// bytes of which t was made, and only what differs is read. decode returns the
// number of lanes that the file says it has, 0 for a file that is empty or
// not ours, and an error for a file of a newer version.
func decode(b, prev []byte, t *Table) (lanes int, err error) {
	if lanes, err = decodeHeader(b, t); err != nil {
		return 0, err
	}
	for i := range t.lanes {
		at := headerSize + i*laneSize
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
	t.cut, t.cutAt = 0, 0
	if string(b[:8]) != magic || checksum(b[:12]) != binary.LittleEndian.Uint32(b[12:]) {
		return 0, nil
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > version {
		return 0, fmt.Errorf("it has format %d and this program knows %d: update this program, or stop all that use the file and remove it", v, version)
	}
	if checksum(b[16:60]) != binary.LittleEndian.Uint32(b[60:]) {
		return 0, nil
	}
	lanes = int(binary.LittleEndian.Uint32(b[16:]))
	t.cut = int(binary.LittleEndian.Uint32(b[20:]))
	t.cutAt = time.Duration(binary.LittleEndian.Uint64(b[24:]))
	if lanes < 1 || lanes > maxQPS || t.cut >= maxQPS {
		t.cut, t.cutAt = 0, 0
		return 0, nil
	}
	return lanes, nil
}

func decodeLane(b []byte) lane {
	l := lane{
		ready:  time.Duration(binary.LittleEndian.Uint64(b)),
		holder: binary.LittleEndian.Uint32(b[8:]),
	}
	l.lost = checksum(b[:12]) != binary.LittleEndian.Uint32(b[12:]) || l.ready < 0
	return l
}

func encodeHeader(b []byte, t *Table, lanes int) {
	clear(b[:headerSize])
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], checksum(b[:12]))
	binary.LittleEndian.PutUint32(b[16:], uint32(lanes))
	binary.LittleEndian.PutUint32(b[20:], uint32(t.cut))
	binary.LittleEndian.PutUint64(b[24:], uint64(t.cutAt))
	binary.LittleEndian.PutUint32(b[60:], checksum(b[16:60]))
}

func encodeLane(b []byte, l lane) {
	if l.lost {
		clear(b[:laneSize]) // still no record
		return
	}
	binary.LittleEndian.PutUint64(b, uint64(l.ready))
	binary.LittleEndian.PutUint32(b[8:], l.holder)
	binary.LittleEndian.PutUint32(b[12:], checksum(b[:12]))
}
