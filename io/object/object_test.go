package object

import (
	"fmt"
	"strings"
	"testing"
)

func ExampleParse() {
	n, err := Parse("s3://exports-1250000000/nightly/members.csv.gz")
	fmt.Println(n.Bucket, n.Key, err)
	// Output: exports-1250000000 nightly/members.csv.gz <nil>
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Name
		err  string // part of it; "" is none
	}{
		{text: "s3://exports/members.csv", want: Name{"exports", "members.csv"}},
		{text: "s3://exports-1250000000/a/b c/班.csv", want: Name{"exports-1250000000", "a/b c/班.csv"}},
		{text: "s3://exports/a%20b?c#d", want: Name{"exports", "a%20b?c#d"}}, // as it stands
		{text: "s3://exports/a//b.csv", want: Name{"exports", "a//b.csv"}},
		{text: "s3://exports", err: "it names no object"},
		{text: "s3://exports/", err: "it names no object"},
		{text: "s3://exports/day/", err: "it names no object"},
		{text: "s3:///members.csv", err: "cannot be a bucket"},
		{text: "s3://Ex ports/members.csv", err: "cannot be a bucket"},
		{text: "s3://key:secret@exports/members.csv", err: "cannot be a bucket"},
		{text: "s3://exports/../members.csv", err: ". or .."},
		{text: "s3://exports/a\nb.csv", err: "control"},
		{text: "s3://exports/a\xff.csv", err: "UTF-8"},
		{text: "s3://exports/" + strings.Repeat("k", 1025), err: "1,024"},
		{text: "members.csv", err: "s3://BUCKET/KEY"},
	} {
		n, err := Parse(tt.text)
		switch {
		case tt.err == "" && (err != nil || n != tt.want || n.String() != tt.text):
			t.Errorf("%q: got %v, %v", tt.text, n, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: got %v, %v; want an error with %q", tt.text, n, err, tt.err)
		}
	}
}
