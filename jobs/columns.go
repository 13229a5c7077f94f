package jobs

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"chatbatch/io/chat"
)

// Fields of a member that are treated otherwise than the rest.
const (
	fieldRole   = "Role"
	fieldCustom = "AppMemberDefinedData"
)

// A column is a field of a member in an exported table.
type column struct{ field, name string }

// profileColumns are the columns of an export of profiles, from the
// documentation page of get_group_member_info. OnlineStatus is newer than some of
// its versions.
func profileColumns() []column {
	return []column{
		{fieldRole, "role"}, {"JoinTime", "join_time"}, {"MsgSeq", "msg_seq"}, {"MsgFlag", "msg_flag"},
		{"LastSendMsgTime", "last_send_msg_time"}, {"MuteUntil", "mute_until"}, {"NameCard", "name_card"},
		{"OnlineStatus", "online_status"},
	}
}

// onlineColumns are those of an export of online lists, from the documentation
// page of get_members.
func onlineColumns() []column {
	return []column{{"JoinTime", "join_time"}, {"NickName", "nick_name"}, {"Avatar", "avatar"}}
}

// FieldNamed is the API's name of a profile field that the user calls name, e.g.
// "NameCard" for "name_card". A name that is not known is taken as it is: the API
// gets new ones without notice.
func FieldNamed(name string) string {
	for _, c := range append(profileColumns(), onlineColumns()...) {
		if strings.EqualFold(c.name, name) || strings.EqualFold(c.field, name) {
			return c.field
		}
	}
	return name
}

// A layout is the columns of an exported table: group_id, account, the columns
// of fields, and one for each custom field.
type layout struct {
	fields []column
	known  []column // fields that have a column in an export of all
	keys   []string // of custom fields
}

// newLayout makes the layout of an export with these fields (nil: the usual ones),
// and these custom fields.
func newLayout(usual []column, fields, keys []string) layout {
	l := layout{fields: usual, known: usual, keys: keys}
	if fields == nil {
		return l
	}
	l.fields = nil
	for _, f := range fields {
		i := indexOf(usual, f)
		if i < 0 {
			l.fields = append(l.fields, column{f, f})
			continue
		}
		l.fields = append(l.fields, usual[i])
	}
	return l
}

// indexOf is the place of a field's column, -1 if it has none.
func indexOf(columns []column, field string) int {
	return slices.IndexFunc(columns, func(c column) bool { return c.field == field })
}

// columns are the names of the columns. A custom field that is called like
// another column gets a prefix.
func (l layout) columns() []string {
	names := []string{"group_id", "account"}
	for _, c := range l.fields {
		names = append(names, c.name)
	}
	for _, key := range l.keys {
		for slices.Contains(names, key) {
			key = "custom." + key
		}
		names = append(names, key)
	}
	return names
}

// cells are the texts of a member's row, for a table. A field that is absent is
// an empty cell.
func (l layout) cells(group string, m chat.Member) []string {
	cells := make([]string, 0, 2+len(l.fields)+len(l.keys))
	cells = append(cells, group, m.Account)
	for _, c := range l.fields {
		text := textOf(valueOf(m, c.field))
		if c.field == fieldRole {
			text = strings.TrimSpace(text)
		}
		cells = append(cells, text)
	}
	if len(l.keys) == 0 {
		return cells
	}
	custom := chat.Member{Fields: customOf(m)}
	for _, key := range l.keys {
		cells = append(cells, textOf(valueOf(custom, key)))
	}
	return cells
}

// object appends a member as a JSON object: the columns under their names as far
// as the member has them, its custom fields under "custom", and under "other"
// what is not known, as it came.
func (l layout) object(b []byte, group string, m chat.Member) []byte {
	b = appendQuoted(append(b, `{"group_id":`...), group)
	b = appendQuoted(append(b, `,"account":`...), m.Account)
	var other []chat.Field
	custom := customOf(m)
	for _, f := range m.Fields {
		i := indexOf(l.fields, f.Name)
		_, text := f.Text()
		switch {
		case f.Name == fieldCustom && custom != nil:
		case i < 0 && indexOf(l.known, f.Name) >= 0: // it was not asked for
		case i < 0:
			other = append(other, f)
		case f.Name == fieldRole && text:
			b = appendQuoted(appendName(b, l.fields[i].name), roleOf(m))
		default:
			b = appendValue(appendName(b, l.fields[i].name), f)
		}
	}
	if custom != nil {
		b = appendFields(appendName(b, "custom"), custom)
	}
	if other != nil {
		b = appendFields(appendName(b, "other"), other)
	}
	return append(b, '}')
}

// appendFields appends fields as an object.
func appendFields(b []byte, fields []chat.Field) []byte {
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(append(appendQuoted(b, f.Name), ':'), f)
	}
	return append(b, '}')
}

func appendName(b []byte, name string) []byte { return append(appendQuoted(append(b, ','), name), ':') }

// valueOf is a member's field; its value is nil if it is absent.
func valueOf(m chat.Member, field string) chat.Field {
	for _, f := range m.Fields {
		if f.Name == field {
			return f
		}
	}
	return chat.Field{Name: field}
}

// roleOf is a member's role. The server may send blanks around it.
func roleOf(m chat.Member) string { return strings.TrimSpace(textOf(valueOf(m, fieldRole))) }

// customOf are a member's custom fields, each key once. nil: it has no such
// field, or one that is no list of keys and values.
func customOf(m chat.Member) []chat.Field {
	raw := valueOf(m, fieldCustom).Value
	if len(raw) == 0 || raw[0] != '[' {
		return nil
	}
	var list []struct {
		Key   *string
		Value jsontext.Value
	}
	if err := json.Unmarshal(raw, &list, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return nil
	}
	fields := []chat.Field{}
	for _, f := range list {
		if f.Key == nil {
			return nil
		}
		i := slices.IndexFunc(fields, func(c chat.Field) bool { return c.Name == *f.Key })
		if i < 0 {
			i, fields = len(fields), append(fields, chat.Field{Name: *f.Key})
		}
		fields[i].Value = f.Value // of a key that comes twice, the last one
	}
	return fields
}

// textOf is a field as the text of a cell: a string without its quotes, with its
// bytes as they came also if they are no UTF-8; nothing for null and for what is
// absent; other values as JSON.
func textOf(f chat.Field) string {
	if text, ok := f.Text(); ok {
		return text
	}
	if len(f.Value) == 0 || string(f.Value) == "null" {
		return ""
	}
	return string(compact(f.Value))
}

// appendValue appends a JSON value on one line. A string with bytes that are no
// UTF-8, which JSON cannot have, becomes {"base64":"…"}.
func appendValue(b []byte, f chat.Field) []byte {
	switch text, ok := f.Text(); {
	case len(f.Value) == 0:
		return append(b, "null"...)
	case utf8.Valid(f.Value):
		return append(b, compact(f.Value)...)
	case ok:
		b = append(b, `{"base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, []byte(text))
		return append(b, `"}`...)
	}
	return append(b, strings.ToValidUTF8(string(compact(f.Value)), "\ufffd")...)
}

// compact takes the white space out of an object or a list.
func compact(raw []byte) []byte {
	if raw[0] != '{' && raw[0] != '[' {
		return raw
	}
	v := jsontext.Value(slices.Clone(raw))
	if err := v.Compact(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return raw
	}
	return v
}

// appendQuoted appends a JSON string.
func appendQuoted(b []byte, s string) []byte {
	// Bytes that are no UTF-8 are the only error there is; they become U+FFFD.
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
