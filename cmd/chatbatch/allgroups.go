package main

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"io"

	"chatbatch/io/roster"
	"chatbatch/jobs"
)

// allGroupsOf is a source that lists the groups of the app. It is the same input
// whatever groups there are: the command that is given again goes on with the
// list that it began with.
func (j *job) allGroupsOf(conn *connection) *source {
	name := "all groups"
	if j.groupType != "" {
		name += " of type " + j.groupType
	}
	sum := sha256.Sum256([]byte(name))
	s := &source{name: name, sha256: hex.EncodeToString(sum[:]), dir: j.store.Dir, written: roster.CSV, encoding: "utf-8", delimiter: ",", meter: &jobs.Meter{}}
	s.list = func(ctx context.Context, out io.Writer) error {
		j.log.Info("listing " + name + " of the app: one call a second, for 10,000 groups each")
		w := csv.NewWriter(out)
		_ = w.Write([]string{"group_id", "type"}) // errors stay in w
		l := jobs.GroupLister{Chat: conn.chat, Type: j.groupType, Say: func(text string) { j.log.Warn(text) }}
		call := jobs.NewCaller(ctx, j.door(conn, s.meter), j.workers)
		err := l.List(ctx, call, func(group, groupType string) error {
			return w.Write([]string{group, groupType})
		})
		if err != nil {
			return err
		}
		w.Flush()
		return w.Error()
	}
	return s
}
