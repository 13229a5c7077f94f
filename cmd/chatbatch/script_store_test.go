package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"chatbatch/io/object"
	"chatbatch/io/object/s3sim"
)

// What the pages of object storage say beside the others; see [TestScript].

func objectStore(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) == 0 || st.store != nil {
		ts.Fatalf("usage: store BUCKET…, once")
	}
	st.store = s3sim.New(args...)
	srv := httptest.NewServer(st.store)
	ts.Defer(srv.Close)
	ts.Setenv("STORE_URL", srv.URL)
	ts.Setenv("STORE_ID", s3sim.KeyID)
	ts.Setenv("STORE_SECRET", s3sim.Secret)
	ts.Setenv("AWS_REGION", s3sim.Region)
}

func put(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 2 || st.store == nil {
		ts.Fatalf("usage: put FILE s3://BUCKET/KEY, after store")
	}
	n, err := object.Parse(args[1])
	ts.Check(err)
	st.store.Put(n.Bucket, n.Key, []byte(ts.ReadFile(args[0])))
}

func stored(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.store == nil {
		ts.Fatalf("usage: object s3://BUCKET/KEY, after store")
	}
	n, err := object.Parse(args[0])
	ts.Check(err)
	o, ok := st.store.Get(n.Bucket, n.Key)
	if !ok {
		ts.Fatalf("there is no %s", n)
	}
	if strings.HasSuffix(n.Key, ".gz") {
		r, err := gzip.NewReader(bytes.NewReader(o.Body))
		ts.Check(err)
		_, err = io.Copy(ts.Stdout(), r)
		ts.Check(err)
		return
	}
	_, _ = ts.Stdout().Write(o.Body)
}

func objectsIn(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.store == nil {
		ts.Fatalf("usage: objects BUCKET, after store")
	}
	fmt.Fprint(ts.Stdout()) // also if there are none
	for _, key := range st.store.Keys(args[0]) {
		o, _ := st.store.Get(args[0], key)
		fmt.Fprintln(ts.Stdout(), key, o.Header.Get("Content-Type"))
	}
	if n, _ := st.store.Uploads(); n > 0 {
		fmt.Fprintln(ts.Stdout(), n, "uploads that are not complete")
	}
}

func refuse(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	switch {
	case neg || st.store == nil || len(args) != 0 && len(args) != 2:
		ts.Fatalf("usage: refuse [METHOD CODE], after store")
	case len(args) == 0:
		st.store.Fail(nil)
		return
	}
	st.store.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != args[0] {
			return false
		}
		s3sim.Refuse(w, http.StatusForbidden, args[1])
		return true
	})
}
