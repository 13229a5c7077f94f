package chatsim

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// Custom has the custom fields of a member in their order: {key: value} in
// YAML. Values are texts, and !!binary ones are sent byte by byte, also where
// they are no UTF-8.
type Custom []CustomField

// A CustomField is one entry of AppMemberDefinedData.
type CustomField struct{ Key, Value string }

// Extra has fields that the documentation does not know yet, in their order:
// {name: any value} in YAML. They are sent whatever MemberInfoFilter says.
type Extra []ExtraField

// An ExtraField is a field of a member, with its value in JSON as it is sent.
type ExtraField struct {
	Name  string
	Value jsontext.Value
}

// UnmarshalYAML reads custom fields from a map of texts.
func (c *Custom) UnmarshalYAML(n *yaml.Node) error {
	*c = nil
	return eachPair(n, func(name string, v *yaml.Node) error {
		text, err := textOf(v)
		*c = append(*c, CustomField{name, text})
		return err
	})
}

// UnmarshalYAML reads fields from a map of anything JSON has, too. Numbers
// keep their digits.
func (e *Extra) UnmarshalYAML(n *yaml.Node) error {
	*e = nil
	return eachPair(n, func(name string, v *yaml.Node) error {
		value, err := appendJSON(nil, v)
		*e = append(*e, ExtraField{name, value})
		return err
	})
}

// eachPair visits a map in the order of its text. Aliases inside are refused,
// since a few lines of them can stand for gigabytes.
func eachPair(n *yaml.Node, visit func(name string, v *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: is no map of names and values", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, err := textOf(n.Content[i])
		if err != nil {
			return err
		}
		if err := visit(name, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// textOf is the text of a scalar, as it is written: 007 stays 007.
func textOf(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("line %d: is no text", n.Line)
	}
	if n.ShortTag() != "!!binary" {
		return n.Value, nil
	}
	var s string
	if err := n.Decode(&s); err != nil {
		return "", fmt.Errorf("line %d: is no base64", n.Line)
	}
	return s, nil
}

// appendJSON appends a YAML value as JSON.
func appendJSON(b []byte, n *yaml.Node) ([]byte, error) {
	switch n.Kind {
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, v := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendJSON(b, v); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	case yaml.MappingNode:
		first := true
		b = append(b, '{')
		err := eachPair(n, func(name string, v *yaml.Node) (err error) {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(appendText(b, name), ':')
			b, err = appendJSON(b, v)
			return err
		})
		return append(b, '}'), err
	}
	return appendScalar(b, n)
}

func appendScalar(b []byte, n *yaml.Node) ([]byte, error) {
	text, err := textOf(n)
	if err != nil {
		return b, err
	}
	switch n.ShortTag() {
	case "!!null":
		return append(b, "null"...), nil
	case "!!bool":
		var v bool
		if err := n.Decode(&v); err != nil {
			return b, fmt.Errorf("line %d: is neither true nor false", n.Line)
		}
		return fmt.Append(b, v), nil
	case "!!int", "!!float":
		if !jsontext.Value(text).IsValid() {
			return b, fmt.Errorf("line %d: %s is no number of JSON", n.Line, text)
		}
		return append(b, text...), nil
	}
	return appendText(b, text), nil
}

// appendText appends a text that may hold any bytes as a JSON string. What is
// no UTF-8 stays as it is, as a server sends it that keeps buffers of its
// callers: a reader has to live with it.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c < 0x20:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// check refuses names that are missing or there twice.
func (c Custom) check(path ...any) error {
	seen := make(map[string]bool, len(c))
	for _, f := range c {
		if f.Key == "" || seen[f.Key] {
			return bad(fmt.Sprintf("%q is empty or there twice", f.Key), path...)
		}
		seen[f.Key] = true
	}
	return nil
}

// check refuses names that are missing, there twice or not unknown, and
// values that are no JSON.
func (e Extra) check(path ...any) error {
	seen := make(map[string]bool, len(e))
	for _, f := range e {
		switch {
		case f.Name == "" || seen[f.Name]:
			return bad(fmt.Sprintf("%q is empty or there twice", f.Name), path...)
		case slices.Contains(profileFields(), f.Name):
			return bad(fmt.Sprintf("%q is a field with a name of its own here", f.Name), path...)
		case !f.Value.IsValid(jsontext.AllowInvalidUTF8(true)):
			return bad(fmt.Sprintf("the value of %q is no JSON", f.Name), path...)
		}
		seen[f.Name] = true
	}
	return nil
}
