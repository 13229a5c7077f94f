package main

import "github.com/spf13/cobra"

func unreadCommand(w world) *cobra.Command {
	return family(
		&cobra.Command{Use: "unread", Short: "Set the unread counts of members of groups"},
		jobCommand(w, "unread set", "FILE", "Set the unread counts that a file names", unreadHelp),
	)
}

const unreadHelp = `FILE is a CSV or JSONL file or an Excel workbook, an object s3://BUCKET/KEY, or - for
stdin, with the columns

  group_id         the group
  account          the member
  unread_msg_num   0 to 4294967295

in any order; other columns are kept. Names like GroupId, Member_Account or
UnreadMsgNum are known too; --map says it of others. Each row is one call. If an
account comes twice in a group, its last row counts, and the others share its
outcome: they are superseded.

The server lowers a count that is larger than the number of messages of the group,
and does not say so. In groups of type ChatRoom (Meeting) and AVChatRoom it
accepts a count and does nothing: --check-groups asks for the types first, 50
groups a call, and fails such rows as unsupported_group_type.

A count that is set again later overwrites what the user has read meanwhile. So
rows are settled one by one: after a crash only those whose calls were under way
are sent again. Run the same command again to resume a run that did not end.`
