package chatsim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// maxScenario is most bytes of a scenario: 100,000 members with names fit.
const maxScenario = 16 << 20

// Parse reads one scenario in YAML. It is strict: an unknown name, a value
// of the wrong kind, a second document or a scenario that contradicts itself
// is an error that names the line. A Scenario from Parse is taken by [New].
func Parse(r io.Reader) (Scenario, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxScenario+1))
	if err != nil {
		return Scenario{}, fmt.Errorf("read scenario: %w", err)
	}
	if len(text) > maxScenario {
		return Scenario{}, fmt.Errorf("read scenario: more than %d MiB", maxScenario>>20)
	}
	var s Scenario
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return Scenario{}, fmt.Errorf("parse scenario: %w", plain(err))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Scenario{}, errors.New("parse scenario: there is a second document")
	}
	if err := s.check(); err != nil {
		return Scenario{}, fmt.Errorf("parse scenario: %w", located(err, text))
	}
	return s, nil
}

// unknownField and goTypes are what the YAML package says in terms of our Go
// types, which the author of a scenario does not know.
var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	goTypes      = regexp.MustCompile(` into chatsim\.(\w+)`)
)

func plain(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the scenario is empty")
	}
	te, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	var all []error
	for _, e := range te.Errors {
		e = unknownField.ReplaceAllString(e, `unknown field "$1"`)
		all = append(all, errors.New(goTypes.ReplaceAllString(e, " into a $1")))
	}
	return errors.Join(all...)
}

// located gives a fieldError the line its field has in text.
func located(err error, text []byte) error {
	fe, ok := errors.AsType[*fieldError](err)
	if !ok {
		return err
	}
	var root yaml.Node
	if yaml.Unmarshal(text, &root) != nil || len(root.Content) == 0 {
		return err
	}
	fe.line = lineOf(root.Content[0], fe.path)
	return fe
}

// lineOf follows path as far as it goes: a field that is missing has the
// line of what should hold it.
func lineOf(n *yaml.Node, path []any) int {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if len(path) == 0 {
		return n.Line
	}
	switch p := path[0].(type) {
	case int:
		if n.Kind == yaml.SequenceNode && p < len(n.Content) {
			return lineOf(n.Content[p], path[1:])
		}
	case string:
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == p {
				return lineOf(n.Content[i+1], path[1:])
			}
		}
	}
	return n.Line
}
