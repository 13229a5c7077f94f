package main

import "github.com/spf13/cobra"

func marksCommand(w world) *cobra.Command {
	return family(
		&cobra.Command{Use: "marks", Short: "Set or delete marks of the online members of audio-video groups"},
		jobCommand(w, "marks set", "ROSTER", "Set marks of the members that a roster names", marksHelp),
		jobCommand(w, "marks delete", "ROSTER", "Delete marks of the members that a roster names", marksHelp),
	)
}

const marksHelp = `ROSTER is a CSV or JSONL file or an Excel workbook, an object s3://BUCKET/KEY, or - for
stdin, with the columns

  group_id   the audio-video group
  account    the member, who must be online (but for mark 500)
  marks      one or several, separated by , ; | or space; in JSONL also an array:
             1000 and above, 500 (always online), 600 (hidden)

in any order; other columns are kept. Names like GroupId, userid, Member_Account
or 账号 are known too; --map says it of others. The file may be compressed, and in
the encoding and with the separator that a spreadsheet gave it. Rows of one group
are sent together, 500 accounts a call, however they are interleaved.

A row ends as succeeded, failed or unprocessed. The failed rows are in
failed.csv (or .jsonl, .xlsx) of the run's directory, as they were written: that
file is a roster again. Run the same command again to resume a run that did not end.`
