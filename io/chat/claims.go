package chat

import (
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"
)

// Claims are what a UserSig says of itself. Whether it was made with the app's key is
// for the server to say.
type Claims struct {
	Identifier string
	SDKAppID   int64
	Signed     time.Time
	Expires    time.Time
}

// maxClaims bounds what a UserSig unfolds to: a real one has less than 1 KiB.
const maxClaims = 16 << 10

// errNoUserSig does not quote: what is no UserSig may be the key.
var errNoUserSig = errors.New("this is no UserSig, or it is not whole")

// userSigDecoding takes [userSigEncoding] back.
var userSigDecoding = strings.NewReplacer("*", "+", "-", "/", "_", "=")

// Claims reads the signature. Its error does not quote it.
func (s FixedSig) Claims() (Claims, error) {
	packed := base64.NewDecoder(base64.StdEncoding, strings.NewReader(userSigDecoding.Replace(string(s))))
	z, err := zlib.NewReader(packed)
	if err != nil {
		return Claims{}, errNoUserSig
	}
	text, err := io.ReadAll(io.LimitReader(z, maxClaims))
	if err != nil {
		return Claims{}, errNoUserSig
	}
	var doc sigDocument
	if err := json.Unmarshal(text, &doc); err != nil || doc.Time == 0 {
		return Claims{}, errNoUserSig
	}
	return Claims{
		Identifier: doc.Identifier, SDKAppID: doc.SDKAppID,
		Signed: time.Unix(doc.Time, 0), Expires: time.Unix(doc.Time+doc.Expire, 0),
	}, nil
}
