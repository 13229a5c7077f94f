package report

// classes say what a class of failed rows means and what to do, in the words of the
// README's table.
func classes() []class {
	return []class{
		{"bad_row", "mend the line; `_error` says what is wrong with it"},
		{"over_limit", "the API allows 10 marks a group and 1,000 members a mark"},
		{"offline_or_absent", "not online, no member, or no such account. Marks need members who are online: `chatbatch retry RUN --class offline_or_absent` when they are"},
		{"mark_not_set", "the server named the account without this mark: feed it back"},
		{"refused", "the server refuses this account; `_code` and `_error` are its words"},
		{"refused_with_chunk", "refused with its neighbours, and `--isolate-budget` did not reach it: feed it back"},
		{"group_not_found", wholeGroup},
		{"invalid_group", wholeGroup},
		{"no_permission", wholeGroup},
		{"unsupported_group_type", "the group cannot have this: unread counts in a ChatRoom or AVChatRoom, profiles of an AVChatRoom (`export online`)"},
		{"stuck_cursor", "the server's pages of this group never end"},
		{"server_error", "retries were not enough: `chatbatch retry RUN`"},
		{"no_answer", "retries were not enough: `chatbatch retry RUN`"},
	}
}

const wholeGroup = "the whole group; once that is known, none of its rows costs a call"

type class struct{ name, todo string }

// todo says what to do about rows that failed with a class; "" if that is not known.
func todo(name string) string {
	for _, c := range classes() {
		if c.name == name {
			return c.todo
		}
	}
	return ""
}
