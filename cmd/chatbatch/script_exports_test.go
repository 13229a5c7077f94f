package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/xuri/excelize/v2"

	"chatbatch/io/charset"
)

// What the pages of exports and unread counts say beside the others; see
// [TestScript].

// note keeps what a call names. Its caller holds mu.
func (st *stage) note(url string, body []byte) {
	var request struct {
		GroupID string `json:"GroupId"`
		Account string `json:"Member_Account"`
		Members []struct {
			Account string `json:"Member_Account"`
		} `json:"MemberList"`
		Groups []string `json:"GroupIdList"`
	}
	_ = json.Unmarshal(body, &request) // the simulator says what it thinks of it
	for _, m := range request.Members {
		st.touched = append(st.touched, request.GroupID+" "+m.Account)
	}
	if request.Account != "" {
		st.touched = append(st.touched, request.GroupID+" "+request.Account)
	}
	group := request.GroupID
	if request.Groups != nil {
		group = fmt.Sprint(len(request.Groups), " groups")
	}
	st.asked = append(st.asked, strings.TrimSpace(path.Base(url)+" "+group))
}

func asked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: asked")
	}
	st := stageOf(ts)
	st.mu.Lock()
	defer st.mu.Unlock()
	slices.Sort(st.asked)
	fmt.Fprint(ts.Stdout()) // also if there are none
	for i := 0; i < len(st.asked); {
		n := i
		for n < len(st.asked) && st.asked[n] == st.asked[i] {
			n++
		}
		fmt.Fprintln(ts.Stdout(), st.asked[i], n-i)
		i = n
	}
	st.asked = nil
}

func unread(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.sim == nil {
		ts.Fatalf("usage: unread GROUP, after sim")
	}
	fmt.Fprint(ts.Stdout()) // also if there is nobody
	for _, account := range st.sim.MembersNow(args[0]) {
		if n, ok := st.sim.Unread(args[0], account); ok {
			fmt.Fprintln(ts.Stdout(), account, n)
		}
	}
}

func tableOf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: table FILE")
	}
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	switch path.Ext(args[0]) {
	case ".gz":
		r, err := gzip.NewReader(f)
		ts.Check(err)
		_, err = io.Copy(ts.Stdout(), r)
		ts.Check(err)
	case ".zst":
		r, err := zstd.NewReader(f)
		ts.Check(err)
		defer r.Close()
		_, err = io.Copy(ts.Stdout(), r)
		ts.Check(err)
	case ".xlsx":
		book, err := excelize.OpenReader(f)
		ts.Check(err)
		defer book.Close()
		rows, err := book.GetRows(book.GetSheetName(0))
		ts.Check(err)
		for _, row := range rows {
			fmt.Fprintln(ts.Stdout(), strings.Join(row, "|"))
		}
	default:
		ts.Fatalf("%s is neither .gz, .zst nor .xlsx", args[0])
	}
}

func pack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pack FILE NAME")
	}
	out, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	defer out.Close()
	var w io.WriteCloser = gzip.NewWriter(out)
	if path.Ext(args[1]) == ".zst" {
		w, err = zstd.NewWriter(out)
		ts.Check(err)
	}
	_, err = io.WriteString(w, ts.ReadFile(args[0]))
	ts.Check(err)
	ts.Check(w.Close())
}

func encode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: encode NAME FILE…")
	}
	c, err := charset.Named(args[0])
	ts.Check(err)
	for _, name := range args[1:] {
		ts.Check(os.WriteFile(ts.MkAbs(name), c.Append(nil, ts.ReadFile(name)), 0o600))
	}
}

func decode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: decode NAME FILE")
	}
	c, err := charset.Named(args[0])
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), c.Decode(ts.ReadFile(args[1])))
}
