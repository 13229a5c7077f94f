package object

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Ways to say which bucket a request is for, for Options.Style.
const (
	Virtual = "virtual" // in the name of the host: https://BUCKET.HOST/KEY
	Path    = "path"    // in the path: https://HOST/BUCKET/KEY
)

// Options say where a store is, and who asks.
type Options struct {
	Endpoint string // its URL, without a bucket: https://cos.ap-singapore.myqcloud.com
	Region   string // "" finds it: by the endpoint, or by asking the store
	Style    string // Virtual or Path; "" finds it by the endpoint
	Keys     Keys

	HTTP http.RoundTripper // nil makes one, with proxies from the environment
}

// Bounds of what a store may take.
const (
	tries    = 8                // of one request, within some four seconds
	openTime = 30 * time.Second // to the first byte of an answer, with all tries
	partTime = 10 * time.Minute // for a part of an upload, with all rounds of tries
	stall    = 30 * time.Second // without a byte of a body, after which it counts as broken

	// Who is told at once that nothing can be read or written can mend it; but what was
	// fetched for an hour waits for a store that is away: rounds of tries, with twice
	// the time between them each time. (The library alone cannot wait longer: behind
	// some 35 tries it does not wait at all between them.)
	rounds    = 5
	roundWait = 5 * time.Second
)

// A Store is a store that can be asked for objects. It is safe for concurrent use.
type Store struct {
	host     string
	endpoint string
	core     *minio.Core
}

// Open makes a Store. It reads the keys, and sends nothing.
func Open(ctx context.Context, o Options) (*Store, error) {
	u, err := endpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Style != "" && o.Style != Virtual && o.Style != Path {
		return nil, fmt.Errorf("style %q of a store: it is %s or %s", o.Style, Virtual, Path)
	}
	if o.HTTP == nil {
		o.HTTP = transport()
	}
	keys, err := o.Keys.get(ctx, o.HTTP)
	if err != nil {
		return nil, err
	}
	s := &Store{host: u.Host, endpoint: u.Scheme + "://" + u.Host}
	s.core, err = minio.NewCore(u.Host, &minio.Options{
		Creds: keys, Secure: u.Scheme == "https", Transport: o.HTTP, MaxRetries: tries,
		Region: cmp.Or(o.Region, regionOf(u.Hostname())), BucketLookup: lookup(o.Style, u.Hostname()),
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", s.endpoint, err)
	}
	return s, nil
}

// endpoint reads the address of a store. What is wrong is not quoted: it may hold a
// password.
func endpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return nil, errors.New("the endpoint of a store is a URL without user, bucket and path, like https://cos.ap-singapore.myqcloud.com")
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	case u.Scheme == "http":
		return nil, fmt.Errorf("endpoint %s: plain http is for this machine alone: what is read and written would be readable on the way", u.Host)
	}
	return nil, fmt.Errorf("endpoint %s: it begins with https://", u.Host)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// accelerate stands in the place of a region for a host that serves all of them.
const accelerate = "accelerate"

// cosRegion is the region in the name of a host of Tencent COS,
// cos.ap-singapore.myqcloud.com.
func cosRegion(host string) (region string, ok bool) {
	parts := strings.SplitN(host, ".", 3)
	if len(parts) != 3 || parts[0] != "cos" && parts[0] != "cos-internal" || parts[2] != "myqcloud.com" && parts[2] != "tencentcos.cn" {
		return "", false
	}
	return parts[1], true
}

// regionOf is the region in the name of a host; "" where there is none, or where
// the library knows it.
func regionOf(host string) string {
	if region, ok := cosRegion(host); ok && region != accelerate {
		return region
	}
	return ""
}

// lookup is how the bucket is named. The library knows of Amazon, Google and Aliyun
// that they want it in the host; COS takes it nowhere else, and others take the path.
func lookup(style, host string) minio.BucketLookupType {
	_, cos := cosRegion(host)
	switch {
	case style == Virtual || style == "" && cos:
		return minio.BucketLookupDNS
	case style == Path:
		return minio.BucketLookupPath
	}
	return minio.BucketLookupAuto
}

// transport makes the way to a store.
func transport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		t = t.Clone()
	} else { // replaced by the program; its settings are not ours to know
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: openTime}
	}
	t.DisableCompression = true // an object comes as it lies there
	t.ResponseHeaderTimeout = time.Minute
	return t
}

// A slowError says that nothing came for some time.
type slowError struct{ time.Duration }

func (e *slowError) Error() string { return fmt.Sprintf("nothing came for %v", e.Duration) }
