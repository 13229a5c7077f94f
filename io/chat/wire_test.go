package chat

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample reads a body of the API's documentation.
func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wire", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// value decodes JSON with its numbers as written.
func value(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

var sampleMembers = []MemberMarks{
	{Account: "teacher10", Marks: []Mark{1000}},
	{Account: "student9", Marks: []Mark{1001}},
}

var samplePage = []Member{member("teacher2", "JoinTime", `1657773110`, "NickName", `"Teacher t02"`, "Avatar", `"http://www.example.com/teacher2.jpg"`)}

// member is a member with fields given as names and JSON texts in turn.
func member(account string, fields ...string) Member {
	m := Member{Account: account, Fields: []Field{}}
	for i := 0; i < len(fields); i += 2 {
		m.Fields = append(m.Fields, Field{fields[i], []byte(fields[i+1])})
	}
	return m
}

// checkWire makes one call of which both bodies are samples. The client may
// send fields that the sample leaves out.
func checkWire(t *testing.T, path, request, answer string, call func(context.Context, *Client) (any, error), want any, besides ...string) {
	t.Helper()
	var body []byte
	c := inProcess(func(r *http.Request) (*http.Response, error) {
		body, _ = io.ReadAll(r.Body)
		if want := "/v4/" + path; r.URL.Path != want {
			t.Errorf("got path %s, want %s", r.URL.Path, want)
		}
		return response(200, sample(t, answer)), nil
	})
	got, err := call(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	sent := value(t, sample(t, request)).(map[string]any)
	for _, field := range besides {
		sent[field] = 0.0
	}
	if diff := cmp.Diff(any(sent), value(t, string(body))); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestWire(t *testing.T) {
	const group = "@TGS#a6I4ZUUGO"
	modify := func(cmd MarksCommand) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) {
			return c.ModifyMarks(ctx, group, cmd, sampleMembers)
		}
	}
	members := func(mark Mark) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.OnlineMembers(ctx, group, mark, 0) }
	}
	for _, tt := range []struct {
		name, request, answer string
		call                  func(context.Context, *Client) (any, error)
		want                  any
		path                  string
	}{
		{"set", "modify_user_info.set.request", "modify_user_info.set.response", modify(SetMarks), sampleMembers, "modify_user_info"},
		{"delete", "modify_user_info.delete.request", "modify_user_info.delete.response", modify(DeleteMarks), sampleMembers, "modify_user_info"},
		{"partial", "modify_user_info.set.request", "modify_user_info.partial.response", modify(SetMarks), sampleMembers[:1], "modify_user_info"},
		{"extra fields", "modify_user_info.set.request", "modify_user_info.extra.response", modify(SetMarks), sampleMembers, "modify_user_info"},
		{"members", "get_members.request", "get_members.response", members(0), OnlinePage{Members: samplePage}, "get_members"},
		{"members of a mark", "get_members.mark.request", "get_members.response", members(1000), OnlinePage{Members: samplePage}, "get_members"},
		{"more members", "get_members.request", "get_members.next.response", members(0), OnlinePage{Members: samplePage, Next: 1657773110}, "get_members"},
		{"no cursor", "get_members.request", "get_members.no_next.response", members(0), OnlinePage{Members: samplePage}, "get_members"},
		{"status of another name", "get_members.request", "set_unread_msg_num.response", members(0), OnlinePage{}, "get_members"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkWire(t, "group_open_avchatroom_http_svc/"+tt.path, tt.request, tt.answer, tt.call, tt.want)
		})
	}
}

func TestWireRefusals(t *testing.T) {
	for name, want := range map[string]Error{
		"modify_user_info.fail.response": {Command: "get_members", Code: 10010, Info: "The group does not exist or has been deleted."},
		"error.60002.response":           {Command: "get_members", Code: 60002, Info: "HTTP parse Error"},
	} {
		err := ping(t.Context(), answering(sample(t, name)))
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: got error %v", name, err)
		} else if diff := cmp.Diff(want, *e); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestWireIsJSON: the documentation's samples have comments and trailing
// commas; ours must not.
func TestWireIsJSON(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "wire", "*.json"))
	if err != nil || len(files) < 41 {
		t.Fatalf("got %d samples, error %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b) {
			t.Errorf("%s is no JSON", f)
		}
	}
}

func TestNoMembersIsAnArray(t *testing.T) {
	var body []byte
	c := inProcess(func(r *http.Request) (*http.Response, error) {
		body, _ = io.ReadAll(r.Body)
		return response(200, okBody), nil
	})
	if _, err := c.ModifyMarks(t.Context(), "g", SetMarks, nil); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"GroupId": "g", "CommandType": 1.0, "MemberList": []any{}}
	if diff := cmp.Diff(want, value(t, string(body))); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}
