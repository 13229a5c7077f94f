package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkCall sends 500 members and reads them back, beside a bare net/http
// loop that moves the same bytes and decodes nothing.
func BenchmarkCall(b *testing.B) {
	members := make([]MemberMarks, MaxMarkMembers)
	for i := range members {
		members[i] = MemberMarks{Account: fmt.Sprintf("student%06d", i), Marks: []Mark{1000, 1001}}
	}
	list, err := json.Marshal(members)
	if err != nil {
		b.Fatal(err)
	}
	answer := strings.TrimSuffix(okBody, "}") + `,"CommandType":1,"MemberList":` + string(list) + "}"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, answer)
	}))
	defer srv.Close()
	c := inProcess(nil)
	c.Endpoint, c.HTTP = srv.URL, NewHTTPClient(4)
	defer c.HTTP.CloseIdleConnections()
	b.Run("client", func(b *testing.B) {
		for b.Loop() {
			if got, err := c.ModifyMarks(b.Context(), "@TGS#a6I4ZUUGO", SetMarks, members); err != nil || len(got) != len(members) {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			resp, err := c.HTTP.Post(srv.URL, "application/json", bytes.NewReader(list))
			if err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}
