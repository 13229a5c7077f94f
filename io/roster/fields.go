package roster

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// An Account is the UserID of a member: a string, also when it is all digits
// ("00123" stays as it is). Blanks around it are cut, inner ones are kept.
type Account string

// UnmarshalCSV reads an account from a CSV field. It refuses an empty one, and
// what a spreadsheet makes of a long number.
func (a *Account) UnmarshalCSV(s string) error {
	s, err := parseID(s)
	if err == nil {
		*a = Account(s)
	}
	return err
}

// UnmarshalJSON reads an account from a JSON string. It refuses a number: its
// leading zeros, or its last digits, may be lost already.
func (a *Account) UnmarshalJSON(b []byte) error {
	s, err := unquote(b)
	if err != nil {
		return err
	}
	return a.UnmarshalCSV(s)
}

// A Group is a GroupID, like "@TGS#1ABC". It is read like an [Account].
type Group string

// UnmarshalCSV reads a group from a CSV field; see [Account.UnmarshalCSV].
func (g *Group) UnmarshalCSV(s string) error {
	s, err := parseID(s)
	if err == nil {
		*g = Group(s)
	}
	return err
}

// UnmarshalJSON reads a group from a JSON string; see [Account.UnmarshalJSON].
func (g *Group) UnmarshalJSON(b []byte) error {
	s, err := unquote(b)
	if err != nil {
		return err
	}
	return g.UnmarshalCSV(s)
}

var (
	errEmpty = errors.New("is empty")
	errNUL   = errors.New("holds a NUL byte")
)

// scientific is how spreadsheets show a number of more than eleven digits. An
// ID of an app may look like 1e5, but not like this.
var scientific = regexp.MustCompile(`^[+-]?[0-9](\.[0-9]+[eE][+-]?|[eE][+-])[0-9]{2,}$`)

// isFormulaError reports whether a text is what a spreadsheet shows, and saves,
// in place of a value that it could not find.
func isFormulaError(s string) bool {
	switch s {
	case "#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#GETTING_DATA":
		return true
	}
	return false
}

func parseID(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", errEmpty
	case strings.IndexByte(s, 0) >= 0:
		return "", errNUL
	case s[0] == '#' && isFormulaError(s):
		return "", fmt.Errorf("%s is an error of a formula", quote(s))
	case s[0] <= '9' && strings.ContainsAny(s, "eE") && scientific.MatchString(s): // the first two spare most IDs the third
		return "", fmt.Errorf("%s is a number as a spreadsheet shows it, its digits are lost: make the column text and fill it in again", quote(s))
	}
	return s, nil
}

// unquote gives the text of a JSON string.
func unquote(b []byte) (string, error) {
	if k := jsontext.Value(b).Kind(); k != '"' {
		return "", fmt.Errorf("must be a string, but is %s", describe(b))
	}
	s, err := jsontext.AppendUnquote(nil, b)
	if err != nil {
		return "", fmt.Errorf("%s is not a JSON string", quote(string(b)))
	}
	return string(s), nil
}

// describe names a JSON value for a message.
func describe(b []byte) string {
	switch jsontext.Value(b).Kind() {
	case '0':
		return "the number " + strings.Trim(quote(string(b)), `"`)
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	if s := string(b); s == "null" || s == "true" || s == "false" {
		return s
	}
	return quote(string(b))
}

// quoteLimit bounds the bytes of a foreign text in a message.
const quoteLimit = 64

// quote makes a foreign text fit for a message of one line.
func quote(s string) string { return fmt.Sprintf("%q", cut(s)) }

func cut(s string) string {
	if len(s) <= quoteLimit {
		return s
	}
	n := quoteLimit
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// A field is one field of the struct that rows are read into.
type field struct {
	name     string
	index    int // in the struct
	optional bool
	typ      reflect.Type
}

type csvUnmarshaler interface{ UnmarshalCSV(string) error }
type jsonUnmarshaler interface{ UnmarshalJSON([]byte) error }

var (
	csvType  = reflect.TypeFor[csvUnmarshaler]()
	jsonType = reflect.TypeFor[jsonUnmarshaler]()
)

// fieldsOf lists the fields of a row type. It is stricter than gocsv, which
// would read numbers leniently, take a tag that starts with "partial" for a
// search, and panic on a field of an interface type.
func fieldsOf(t reflect.Type) ([]field, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("roster: rows of type %v: want a struct", t)
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Tag.Get("csv") == "-" {
			continue
		}
		name, rest, _ := strings.Cut(f.Tag.Get("csv"), ",")
		if name == "" || name != strings.TrimSpace(name) || strings.HasPrefix(name, "partial") || f.Anonymous {
			return nil, fmt.Errorf("roster: field %v.%s: want a tag like csv:\"name\"", t, f.Name)
		}
		if rest != "" && rest != "omitempty" {
			return nil, fmt.Errorf("roster: field %v.%s: option %q: only omitempty is known", t, f.Name, rest)
		}
		p := reflect.PointerTo(f.Type)
		if f.Type != reflect.TypeFor[string]() && (!p.Implements(csvType) || !p.Implements(jsonType)) {
			return nil, fmt.Errorf("roster: field %v.%s: want a string or a type with UnmarshalCSV and UnmarshalJSON, not %v", t, f.Name, f.Type)
		}
		fields = append(fields, field{name: name, index: i, optional: rest == "omitempty", typ: f.Type})
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("roster: rows of type %v: no fields with a csv tag", t)
	}
	return fields, nil
}

// setCSV reads a CSV field into the field that p points to.
func setCSV(p any, s string) error {
	switch p := p.(type) {
	case *string:
		*p = s
		return nil
	case csvUnmarshaler:
		return p.UnmarshalCSV(s)
	}
	return fmt.Errorf("cannot read into %T", p)
}

// setJSON reads a JSON value into the field that p points to.
func setJSON(p any, b []byte) (err error) {
	switch p := p.(type) {
	case *string:
		*p, err = unquote(b)
		return err
	case jsonUnmarshaler:
		return p.UnmarshalJSON(b)
	}
	return fmt.Errorf("cannot read into %T", p)
}
