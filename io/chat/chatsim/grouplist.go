package chatsim

import (
	"fmt"
	"strconv"
)

const (
	commandGroupList = "get_appid_group_list"

	maxGroupList = 10_000
	// firstGroup is the cursor before the first group; that of another is so
	// much more as its number. It is above what a float has digits for.
	firstGroup = 1<<54 - 1
)

type groupListRequest struct {
	Limit *int64 `json:"Limit"`
	Next  uint64 `json:"Next"`
	Type  string `json:"GroupType"`
}

// groupList lists the groups of the app: those the scenario names, in its
// order, and those it generates. Who exists by Open alone is not listed.
//
// API: v4/group_open_http_svc/get_appid_group_list
func (s *Sim) groupList(c *call, body []byte) ([]byte, *refusal) {
	var r groupListRequest
	if no := decode(body, &r); no != nil {
		return nil, no
	}
	limit := maxGroupList
	if r.Limit != nil {
		if *r.Limit < 1 || *r.Limit > maxGroupList {
			return nil, refuse(codeBadParameter, fmt.Sprintf("Limit is not within 1 to %d", maxGroupList))
		}
		limit = int(*r.Limit)
	}
	blocks := s.sc.groupBlocks()
	from := 0
	if r.Next != 0 {
		last := blocks[len(blocks)-1]
		if r.Next < firstGroup || r.Next-firstGroup > uint64(last.first+last.count) {
			return nil, refuse(codeBadParameter, "Next is none of this app")
		}
		from = int(r.Next - firstGroup)
	}
	ids, next := pageOfGroups(blocks, r.Type, from, min(limit, s.sc.GroupListLimit))
	total := 0
	for _, b := range blocks {
		if b.is(r.Type) {
			total += b.count
		}
	}
	return encodeGroupList(c, total, ids, next), nil
}

// A groupBlock is a run of groups of one type. Groups are numbered from 0
// through all blocks.
type groupBlock struct {
	first, count int
	kind         string
	id           func(n int) string // of the n-th of the block
}

func (b *groupBlock) is(kind string) bool { return kind == "" || oldType(kind) == oldType(b.kind) }

// groupBlocks has the groups that are listed; the last block may be empty, but
// there is one.
func (s *Scenario) groupBlocks() []groupBlock {
	blocks := make([]groupBlock, 0, len(s.Groups)+len(s.GenerateGroups)+1)
	for i := range s.Groups {
		g := &s.Groups[i]
		blocks = append(blocks, groupBlock{i, 1, typeOr(g.Type), func(int) string { return g.ID }})
	}
	first := len(s.Groups)
	for i := range s.GenerateGroups {
		g := &s.GenerateGroups[i]
		blocks = append(blocks, groupBlock{first, g.Count, typeOr(g.Type), func(n int) string { return g.Prefix + strconv.Itoa(n+1) }})
		first += g.Count
	}
	return append(blocks, groupBlock{first: first})
}

// pageOfGroups lists the groups of a type from a number on, and says at which
// number to go on; 0: nowhere, since there is no further one.
func pageOfGroups(blocks []groupBlock, kind string, from, limit int) (ids []string, next int) {
	for _, b := range blocks {
		if !b.is(kind) {
			continue
		}
		for n := max(from-b.first, 0); n < b.count; n++ {
			if len(ids) == limit {
				return ids, b.first + n
			}
			ids = append(ids, b.id(n))
		}
	}
	return ids, 0
}

func encodeGroupList(c *call, total int, ids []string, next int) []byte {
	b := appendHead(make([]byte, 0, 256+48*len(ids)), c, "OK", 0, "")
	b = strconv.AppendInt(append(b, `,"TotalCount":`...), int64(total), 10)
	b = append(b, `,"GroupIdList":[`...)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(append(b, `{"GroupId":`...), id), '}')
	}
	b = append(b, `],"Next":`...)
	if next == 0 {
		return append(b, "0}"...)
	}
	return append(strconv.AppendUint(b, firstGroup+uint64(next), 10), '}')
}
