package workbook

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	maxToken = 1 << 20  // bytes of one text, or of one tag: a cell has 32,767 characters
	maxRatio = 500      // what a part may become, in times of its size …
	freely   = 64 << 20 // … behind so many bytes
)

// A part is a part of a workbook, read as XML, token by token.
type part struct {
	name string
	body io.ReadCloser
	xml  *xml.Decoder

	packed, bytes int64 // its size, and what has come out of it
	freely        int64
	left          int // of the token under way
}

// open opens a part; nil if there is none of the name.
func (b *Book) open(name string) (*part, error) {
	f := b.parts[partName(name)]
	if f == nil {
		return nil, nil
	}
	body, err := f.Open()
	if err != nil {
		return nil, damaged(name, err)
	}
	p := &part{name: name, body: body, packed: int64(f.CompressedSize64), freely: freely, left: maxToken}
	p.xml = xml.NewDecoder(p)
	return p, nil
}

// must is open for a part that there must be.
func (b *Book) must(name string) (*part, error) {
	p, err := b.open(name)
	if err == nil && p == nil {
		err = fmt.Errorf("%s is missing", name)
	}
	return p, err
}

func (p *part) close() { _ = p.body.Close() }

func damaged(name string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		err = errors.New("it is cut off")
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Read reads the part, within its bounds.
func (p *part) Read(b []byte) (int, error) {
	switch {
	case p.left <= 0:
		return 0, fmt.Errorf("a text of more than %d bytes", maxToken)
	case p.bytes > p.freely && p.bytes/maxRatio > p.packed:
		return 0, fmt.Errorf("it becomes more than %d times as large", maxRatio)
	}
	n, err := p.body.Read(b)
	p.bytes += int64(n)
	p.left -= n
	return n, err
}

// token gives the next token, valid until the following call; io.EOF is the end
// of the part.
func (p *part) token() (xml.Token, error) {
	p.left = maxToken
	t, err := p.xml.RawToken() // nesting is looked after by those who call
	if err != nil && err != io.EOF {
		return nil, damaged(p.name, err)
	}
	return t, err
}

// element gives the next beginning of one of these elements.
func (p *part) element(names ...string) (xml.StartElement, error) {
	for {
		t, err := p.token()
		if err != nil {
			return xml.StartElement{}, err
		}
		if e, ok := t.(xml.StartElement); ok && slices.Contains(names, e.Name.Local) {
			return e, nil
		}
	}
}

// end reads the rest of the part, whose checksum stands behind it.
func (p *part) end() error {
	for {
		if _, err := p.token(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// attr is an attribute of an element that has no prefix; "" if there is none.
func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// prefixed is an attribute with any prefix.
func prefixed(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space != "" {
			return a.Value
		}
	}
	return ""
}

// text gives the text inside an element that has just begun: that of its t
// elements, without the hints of how it is spoken.
func (p *part) text(element string) (string, error) {
	var text []byte
	spoken, inside := 0, false
	for {
		t, err := p.token()
		if err != nil {
			return "", damaged(p.name, err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			inside = t.Name.Local == "t"
			if t.Name.Local == "rPh" {
				spoken++
			}
		case xml.EndElement:
			inside = false
			switch t.Name.Local {
			case "rPh":
				spoken--
			case element:
				return unescape(text), nil
			}
		case xml.CharData:
			if inside && spoken == 0 {
				text = append(text, t...)
			}
		}
		if len(text) > maxToken {
			return "", damaged(p.name, fmt.Errorf("a text of more than %d bytes", maxToken))
		}
	}
}

// unescape brings back the characters that XML does not have, and that are
// written as _xHHHH_.
func unescape(text []byte) string {
	out := text[:0]
	for i := 0; i < len(text); i++ {
		if code, ok := escape(text[i:]); ok {
			out = append(out, string(code)...)
			i += len("_xHHHH_") - 1
			continue
		}
		out = append(out, text[i])
	}
	return string(out)
}

func escape(text []byte) (code rune, ok bool) {
	if len(text) < 7 || text[0] != '_' || text[1] != 'x' || text[6] != '_' {
		return 0, false
	}
	for _, c := range text[2:6] {
		d := rune(c)
		switch {
		case c >= '0' && c <= '9':
			d -= '0'
		case c >= 'A' && c <= 'F', c >= 'a' && c <= 'f':
			d = d&^0x20 - 'A' + 10
		default:
			return 0, false
		}
		code = code<<4 | d
	}
	return code, true
}
