package s3sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// authorization is a header of Signature Version 4.
var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 ?Credential=([^/,]+)/(\d{8})/([^/,]+)/s3/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$`)

// skew is how far the clock of a client may be off.
const skew = 15 * time.Minute

// check says what is wrong with a request before it is looked at; code is "" if
// nothing is.
func check(r *http.Request, body []byte) (status int, code string) {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return http.StatusForbidden, "AccessDenied"
	}
	id, day, region, names, signature := m[1], m[2], m[3], m[4], m[5]
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	sum := sha256.Sum256(body)
	hash := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case id != KeyID:
		return http.StatusForbidden, "InvalidAccessKeyId"
	case err != nil || at.Format("20060102") != day:
		return http.StatusForbidden, "AccessDenied"
	case time.Since(at).Abs() > skew:
		return http.StatusForbidden, "RequestTimeTooSkewed"
	case region != Region && kindOf(r) != "?location": // who knows the region does not ask for it
		return http.StatusBadRequest, "AuthorizationHeaderMalformed"
	case hash != "UNSIGNED-PAYLOAD" && hash != hex.EncodeToString(sum[:]):
		return http.StatusBadRequest, "XAmzContentSHA256Mismatch"
	case !slices.Contains(strings.Split(names, ";"), "host"):
		return http.StatusForbidden, "AccessDenied"
	case signature != sign(r, Secret, names, region, at):
		return http.StatusForbidden, "SignatureDoesNotMatch"
	}
	return 0, ""
}

// sign makes the signature of a request over the headers in names, as
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html has it.
func sign(r *http.Request, secret, names, region string, at time.Time) string {
	var headers strings.Builder
	for name := range strings.SplitSeq(names, ";") {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = r.Header.Get("Content-Length")
		}
		headers.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), query(r.URL), headers.String(), names, r.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
	scope := at.Format("20060102") + "/" + region + "/s3/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + at.Format("20060102T150405Z") + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// query is the query of a request in its one order.
func query(u *url.URL) string {
	return strings.ReplaceAll(u.Query().Encode(), "+", "%20") // in the order of the names
}
