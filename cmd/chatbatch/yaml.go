package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// readSmall reads a file of at most most bytes, or stdin for "-" if there is one.
func readSmall(ctx context.Context, name string, stdin io.Reader, most int) ([]byte, error) {
	in := stdin
	if name != "-" || in == nil {
		file, err := openAwaited(ctx, name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(&awaited{ctx: ctx, r: in}, int64(most)+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("the file is larger than %d bytes", most)
	}
	return text, err
}

// errSecondDocument refuses a file of two documents, of which one would not be read.
var errSecondDocument = errors.New("it has a second document (behind ---)")

// parseYAML returns what a text of one document holds, nil if it holds nothing. Its
// errors name the line.
func parseYAML(text []byte) (*yaml.Node, error) {
	var doc, more yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(&doc); err != nil && err != io.EOF {
		return nil, notYAML(text, err)
	}
	if in.Decode(&more) != io.EOF {
		return nil, errSecondDocument
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// lineOfYAML finds the line in an error of the YAML package, anchorOfYAML an anchor,
// and blockOfYAML those errors whose line is that of the block in which it stumbled,
// counted from 0.
var (
	lineOfYAML   = regexp.MustCompile(`^line ([0-9]+): `)
	anchorOfYAML = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	blockOfYAML  = regexp.MustCompile(`^did not find expected (key|'|node|<)`)
)

// notYAML says on which line a text is no YAML, given what the YAML package says of
// it: that names no line if it is the first one, or if a byte cannot stand anywhere.
func notYAML(text []byte, err error) error {
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := lineOfYAML.FindStringSubmatch(what); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits
		if what = what[len(m[0]):]; blockOfYAML.MatchString(what) {
			line++
		}
	} else if at := badByte(text); at >= 0 {
		line = 1 + bytes.Count(text[:at], []byte("\n"))
		what = fmt.Sprintf("byte %#02x cannot stand here: save the file as UTF-8, without control characters", text[at])
	} else if m := anchorOfYAML.FindStringSubmatch(what); m != nil {
		before, _, _ := bytes.Cut(text, []byte("*"+m[1]))
		line = 1 + bytes.Count(before, []byte("\n"))
	}
	if blockOfYAML.MatchString(what) {
		return fmt.Errorf("line %d, or in what begins there: %s", line, what)
	}
	return fmt.Errorf("line %d: %s", line, what)
}

// badByte is the place of the first byte that cannot stand in YAML, -1 if there is none.
func badByte(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r) {
			return i
		}
		i += size
	}
	return -1
}
