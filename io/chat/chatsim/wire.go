package chatsim

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// What callers send and see, as the documentation's pages spell it.
type (
	modifyRequest struct {
		GroupID     string        `json:"GroupId"`
		CommandType int64         `json:"CommandType"`
		MemberList  []memberMarks `json:"MemberList"`
	}
	memberMarks struct {
		Account string   `json:"Member_Account"`
		Marks   []uint64 `json:"Marks"`
	}
	membersRequest struct {
		GroupID   string `json:"GroupId"`
		Mark      uint64 `json:"Mark"`
		Timestamp *int64 `json:"Timestamp"`
	}
)

// decode reads a request body strictly: names are case-sensitive, each is
// there once, and the text is valid UTF-8. Unknown fields are passed over.
func decode(body []byte, into any) *refusal {
	// An API that is called with a list or a number instead of an object
	// has nothing to look fields up in.
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return refuse(codeBadJSON, "")
	}
	err := json.Unmarshal(body, into)
	if err == nil {
		return nil
	}
	wrong, ok := errors.AsType[*json.SemanticError](err)
	switch {
	case !ok:
		return refuse(codeBadJSON, "")
	case wrong.JSONPointer.LastToken() == "Member_Account":
		return refuse(codeAccountType, "")
	}
	return refuse(codeBadParameter, fmt.Sprintf("%s has a wrong type", wrong.JSONPointer))
}

// decodeModify reads the body of modify_user_info.
func decodeModify(body []byte) (modifyRequest, *refusal) {
	if r, ok := scanModify(string(body)); ok {
		return r, nil
	}
	var r modifyRequest
	no := decode(body, &r)
	return r, no
}

// merged brings the entries of one account together, in the order of their
// first appearance: what the vendor does with duplicates is not documented,
// and the union is what both entries ask for.
func merged(list []memberMarks) []memberMarks {
	at := make(map[string]int, len(list))
	out := list[:0]
	for _, m := range list {
		if i, ok := at[m.Account]; ok {
			out[i].Marks = append(out[i].Marks[:len(out[i].Marks):len(out[i].Marks)], m.Marks...)
			continue
		}
		at[m.Account] = len(out)
		out = append(out, m)
	}
	for i := range out {
		out[i].Marks = unique(out[i].Marks)
	}
	return out
}

// unique drops repeated marks and keeps the order. Lists are short: an
// account has ten marks at most.
func unique(marks []uint64) []uint64 {
	n := 0
next:
	for _, m := range marks {
		for _, k := range marks[:n] {
			if k == m {
				continue next
			}
		}
		marks[n] = m
		n++
	}
	return marks[:n]
}
