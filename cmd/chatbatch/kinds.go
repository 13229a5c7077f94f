package main

import (
	"fmt"
	"io"

	"chatbatch/io/chat"
	"chatbatch/io/roster"
	"chatbatch/jobs"
)

// A kindOf says how a kind is opened and made. This is the table that a new
// kind is added to.
type kindOf struct {
	open func(io.Reader, roster.Options) (*jobs.Input, error)
	make func(c *chat.Client, isolateBudget int) jobs.Kind
}

func kinds() map[string]kindOf {
	return map[string]kindOf{
		"marks set":    {jobs.OpenMarks, func(c *chat.Client, n int) jobs.Kind { return jobs.SetMarks(c, n) }},
		"marks delete": {jobs.OpenMarks, func(c *chat.Client, n int) jobs.Kind { return jobs.DeleteMarks(c, n) }},
	}
}

// kindNamed returns the kind of a run that may have been made by another version.
func kindNamed(name string) (kindOf, error) {
	k, ok := kinds()[name]
	if !ok {
		return k, fmt.Errorf("this version knows no kind %q", name)
	}
	return k, nil
}
