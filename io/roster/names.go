package roster

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// aliases are other names under which a field is known, besides its own. Case,
// blanks, "_" and "-" do not matter: "Member_Account" is "memberaccount".
// Names that may mean something else, like 学号 (a student's number), are left
// to Options.Map.
var aliases = map[string][]string{
	"group_id":       {"groupid", "group", "群组", "群组ID", "群ID", "群号", "群組", "群組ID", "群號"},
	"account":        {"userid", "memberaccount", "账号", "帐号", "帳號", "賬號", "用户ID", "用戶ID", "使用者ID", "用户账号"},
	"marks":          {"mark", "标记", "標記"},
	"unread_msg_num": {"unreadmsgnum", "unread", "未读数", "未讀數", "未读"},
	"type":           {"grouptype", "群类型", "群组类型", "群類型", "群組類型"},
}

// names tells which field a column stands for.
type names struct {
	fields []field
	alias  map[string]int // plain name of an alias -> place in fields
	mapped map[string]int // plain name of a column of Options.Map -> place in fields
	taken  []bool         // by field: Options.Map names a column for it
	asked  []string       // the columns of Options.Map, as written, sorted
}

func newNames(fields []field, columns map[string]string) (*names, error) {
	n := &names{
		fields: fields,
		alias:  map[string]int{},
		mapped: map[string]int{},
		taken:  make([]bool, len(fields)),
		asked:  slices.Sorted(maps.Keys(columns)),
	}
	for i, f := range fields {
		n.alias[plain(f.name)] = i
		for _, a := range aliases[f.name] {
			n.alias[plain(a)] = i
		}
	}
	for _, column := range n.asked {
		i := fieldNamed(fields, columns[column])
		switch {
		case i < 0:
			return nil, fmt.Errorf("%w: column %s is mapped to %s, which is not a field: the fields are %s",
				ErrOptions, quote(column), quote(columns[column]), list(fields))
		case n.taken[i]:
			return nil, fmt.Errorf("%w: two columns are mapped to %s", ErrOptions, fields[i].name)
		case isReserved(column):
			return nil, fmt.Errorf("%w: column %s is reserved and not read", ErrOptions, column)
		}
		n.mapped[plain(column)], n.taken[i] = i, true
	}
	return n, nil
}

// field gives the place in fields of what a column stands for, -1 for nothing.
func (n *names) field(column string) int {
	if i, ok := n.mapped[plain(column)]; ok {
		return i
	}
	if i, ok := n.alias[plain(column)]; ok && !n.taken[i] {
		return i
	}
	return -1
}

// plain is what counts of a column's name.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_', r == '-', unicode.IsSpace(r), unicode.Is(unicode.Cf, r):
			return -1 // Cf: zero-width characters, a byte order mark
		}
		return unicode.ToLower(r)
	}, name)
}

func fieldNamed(fields []field, name string) int {
	return slices.IndexFunc(fields, func(f field) bool { return f.name == name })
}

func list(fields []field) string {
	var s []string
	for _, f := range fields {
		s = append(s, f.name)
	}
	return strings.Join(s, ", ")
}

// A fixed value is that of a field which has no column.
type fixed struct {
	field int // place in the fields
	index int // in the struct
	value reflect.Value
}

// defaultsOf reads the values of Options.Defaults, as if they stood in a file.
func defaultsOf(fields []field, defaults map[string]string) ([]fixed, error) {
	var values []fixed
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		i := fieldNamed(fields, name)
		if i < 0 {
			return nil, fmt.Errorf("%w: a value is given for %s, which is not a field: the fields are %s",
				ErrOptions, quote(name), list(fields))
		}
		p := reflect.New(fields[i].typ)
		if err := setCSV(p.Interface(), defaults[name]); err != nil {
			return nil, fmt.Errorf("%w: value given for %s: %w", ErrOptions, name, err)
		}
		values = append(values, fixed{field: i, index: fields[i].index, value: p.Elem()})
	}
	return values, nil
}

// fill sets the fixed values in a row. A slice is copied: a caller may sort it.
func fill(row reflect.Value, list []fixed) {
	for _, f := range list {
		v := f.value
		if v.Kind() == reflect.Slice {
			v = reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v)
		}
		row.Field(f.index).Set(v)
	}
}

// isFixed reports whether a field has a fixed value.
func isFixed(list []fixed, field int) bool {
	return slices.ContainsFunc(list, func(f fixed) bool { return f.field == field })
}
