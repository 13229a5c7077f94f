package main

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"chatbatch/io/chat"
	"chatbatch/io/roster"
	"chatbatch/jobs"
	"chatbatch/jobs/fleet"
)

// A kindOf says how a kind is opened and made. This is the table that a new
// kind is added to.
type kindOf struct {
	api   string // of the calls for its rows
	open  func(io.Reader, roster.Options) (*jobs.Input, error)
	make  func(*options, kindParts) jobs.Kind
	flags func(*options, *pflag.FlagSet) // that other kinds may not have
	plan  []string                       // those of them that change the plan
	rows  bool                           // each row is a call of its own
	// each row is a group, of which all members are fetched
	groups bool
}

// kindParts are what a kind is made of, beside the options. A kind that only plans
// has none.
type kindParts struct {
	chat *chat.Client
	keep jobs.Keeper
	say  func(string)
}

func kinds() map[string]kindOf {
	marks := kindOf{
		api: chat.CommandModifyUserInfo, open: jobs.OpenMarks, flags: (*options).addMarksFlags, plan: []string{"chunk-size", "group", "marks"},
	}
	set, remove := marks, marks
	set.make = func(o *options, p kindParts) jobs.Kind { return jobs.SetMarks(p.chat, o.isolateBudget) }
	remove.make = func(o *options, p kindParts) jobs.Kind { return jobs.DeleteMarks(p.chat, o.isolateBudget) }
	return map[string]kindOf{
		"marks set":    set,
		"marks delete": remove,
		"unread set": {
			api: chat.CommandSetUnread, open: jobs.OpenUnread, flags: (*options).addUnreadFlags, plan: []string{"chunk-size", "group", "check-groups"}, rows: true,
			make: func(o *options, p kindParts) jobs.Kind { return jobs.SetUnread(p.chat, o.checkGroups, p.say) },
		},
		"export members": {
			api: chat.CommandGroupMembers, open: jobs.OpenGroups, groups: true, flags: (*options).addMembersFlags, plan: append(exportPlan(),
				"fields", "roles", "custom-fields", "page-size", "all-groups", "group-type"),
			make: func(o *options, p kindParts) jobs.Kind { return jobs.ExportMembers(p.chat, p.keep, o.membersOptions()) },
		},
		"export online": {
			api: chat.CommandGetMembers, open: jobs.OpenGroups, groups: true, flags: (*options).addOnlineFlags, plan: append(exportPlan(), "mark"),
			make: func(o *options, p kindParts) jobs.Kind { return jobs.ExportOnline(p.chat, p.keep, chat.Mark(o.mark)) },
		},
	}
}

// sort is what the chunks of a run of this kind are.
func (k kindOf) sort() fleet.Sort {
	switch {
	case k.rows:
		return fleet.Rows
	case k.groups:
		return fleet.Groups
	}
	return fleet.Calls
}

// kindNamed returns the kind of a run that may have been made by another version.
func kindNamed(name string) (kindOf, error) {
	k, ok := kinds()[name]
	if !ok {
		return k, fmt.Errorf("this version knows no kind %q", name)
	}
	return k, nil
}

func (o *options) addMarksFlags(fs *pflag.FlagSet) {
	o.addChunkSize(fs, "most accounts in one call; the API documents 500")
	o.addGroup(fs)
	o.addMarks(fs)
}

func (o *options) addUnreadFlags(fs *pflag.FlagSet) {
	o.addChunkSize(fs, "rows that are planned together; each is a call of its own")
	o.addGroup(fs)
	o.addCheckGroups(fs)
}
