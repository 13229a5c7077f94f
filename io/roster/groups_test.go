package roster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// group is a row of a file that names groups.
type group struct {
	Group Group  `csv:"group_id"`
	Type  string `csv:"type,omitempty"`
}

func TestFileOfGroups(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		o          Options
		want       []string
	}{
		{"one column", "group_id\n@TGS#1\n@TGS#_@TGS#2\n", Options{}, []string{"@TGS#1 ", "@TGS#_@TGS#2 "}},
		{"one column, CRLF, mark and no last line end", "\ufeffGroupId\r\n@TGS#1\r\n\r\nclass 5/a#b", Options{}, []string{"@TGS#1 ", "class 5/a#b "}},
		{"one column in Chinese", "群组ID\n三年二班\n", Options{}, []string{"三年二班 "}},
		{"a comma in the ID", "group_id\n\"a,b\"\n", Options{}, []string{"a,b "}},
		{"a comma that is not quoted", "group_id\na,b\nc\n", Options{}, []string{"wrong number of fields: 2, the header has 1", "c "}},
		{"other columns", "name,group_id,owner\nThird year,g1,ann\n,g2,\n", Options{}, []string{"g1 ", "g2 "}},
		{"another name", "class\ng1\n", Options{Map: map[string]string{"class": "group_id"}}, []string{"g1 "}},
		{"blank lines are no rows", "group_id\n\ng1\n \t\ng2\n", Options{}, []string{"g1 ", "g2 "}},
		{"an empty ID in quotes", "group_id\n\"\"\n", Options{}, []string{"column group_id: is empty"}},
		{"type", "group_id,type\ng1,Community\ng2,\n", Options{}, []string{"g1 Community", "g2 "}},
		{"group_type", "group_type,group\nPublic,g1\n", Options{}, []string{"g1 Public"}},
		{"GroupType", "GroupId,GroupType\ng1,ChatRoom\n", Options{}, []string{"g1 ChatRoom"}},
		{"type in Chinese", "群ID,群类型\ng1,Public\n", Options{}, []string{"g1 Public"}},
		{"type in Chinese, longer", "群号,群组类型\ng1,Public\n", Options{}, []string{"g1 Public"}},
		{"type in traditional Chinese", "群組ID,群組類型\ng1,Public\n", Options{}, []string{"g1 Public"}},
		{"failed before", "group_id,_line,_class,_code,_error,_attempts,_run\ng1,2,refused,10010,\"no, never\",3,r1\n", Options{}, []string{"g1 "}},
		{"JSONL", `{"GroupId":"g1","GroupType":"Public","x":{}}` + "\n" + `{"group_id":"g2"}`, Options{Format: JSONL}, []string{"g1 Public", "g2 "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, row := range readAll[group](t, tt.text, tt.o) {
				if row.Err != nil {
					got = append(got, row.Err.Error())
					continue
				}
				got = append(got, fmt.Sprint(row.Value.Group, " ", row.Value.Type))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTwoTypesAreDoubled(t *testing.T) {
	_, err := Open[group](strings.NewReader("group_id,type,GroupType\n"), Options{})
	if want := `2 columns for type: ["type" "GroupType"]`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
