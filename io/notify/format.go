package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Format is what a hook understands. The robots of the chat programs refuse what
// has not their form, and say so with status 200.
type Format string

const (
	JSON     Format = "json"     // the whole of a message; any 2xx is success
	Slack    Format = "slack"    // the text
	WeCom    Format = "wecom"    // the text, to a robot of 企业微信
	DingTalk Format = "dingtalk" // the text, to a robot of 钉钉 that is not asked to check a signature
	Feishu   Format = "feishu"   // the text, to a robot of 飞书 or Lark, the same
)

// Formats are all of them.
func Formats() []string {
	return []string{string(JSON), string(Slack), string(WeCom), string(DingTalk), string(Feishu)}
}

// ParseFormat reads the name of a format.
func ParseFormat(name string) (Format, error) {
	for _, f := range Formats() {
		if name == f {
			return Format(f), nil
		}
	}
	return "", fmt.Errorf("there is no format %q: it is one of %s", name, strings.Join(Formats(), " "))
}

// maxText is most bytes of a text: a robot of WeCom takes 2,048.
const maxText = 2000

// body is what is posted.
func (f Format) body(m Message) ([]byte, error) {
	text := clip(m.Text)
	var v any
	switch f {
	case JSON, "":
		v = m.JSON
	case Slack:
		// The three characters that mean something in Slack's own markup.
		v = map[string]string{"text": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)}
	case WeCom, DingTalk:
		v = map[string]any{"msgtype": "text", "text": map[string]string{"content": text}}
	case Feishu:
		v = map[string]any{"msg_type": "text", "content": map[string]string{"text": text}}
	default:
		return nil, fmt.Errorf("there is no format %q", f)
	}
	return json.Marshal(v)
}

// refused finds in an answer with status 200 that the robot has not taken a message.
func (f Format) refused(answer []byte) (code int, refused bool) {
	var a struct {
		ErrCode int `json:"errcode"` // WeCom, DingTalk
		Code    int `json:"code"`    // Feishu
	}
	switch f {
	case WeCom, DingTalk, Feishu:
	default:
		return 0, false
	}
	if json.Unmarshal(answer, &a) != nil {
		return 0, false // the status was good
	}
	code = a.ErrCode
	if f == Feishu {
		code = a.Code
	}
	return code, code != 0
}

// clip cuts a text to what all robots take.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
