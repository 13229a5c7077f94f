// Package object reads and writes objects of a store that speaks S3: Tencent
// COS, Amazon S3, MinIO and others.
//
// An object that is read is read from one version of it: where the connection
// breaks off, reading goes on at that byte, and a version that was replaced
// meanwhile is an error. An object that is written appears whole or not at all;
// until then, what had the name before is there.
//
// It follows no redirect: a store that is elsewhere is an error that says so. Its
// errors hold neither a key nor what a server has to say beside a code, which may
// be the request.
package object

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// scheme is how the name of an object begins.
const scheme = "s3://"

// A Name says which object: s3://BUCKET/KEY. The key stands there as it is,
// without escapes.
type Name struct{ Bucket, Key string }

// String is the name as [Parse] reads it.
func (n Name) String() string { return scheme + n.Bucket + "/" + n.Key }

// Is says whether a text means an object, and not a file.
func Is(text string) bool { return strings.HasPrefix(text, scheme) }

// Parse reads the name of an object.
func Parse(text string) (Name, error) {
	rest, ok := strings.CutPrefix(text, scheme)
	bucket, key, _ := strings.Cut(rest, "/")
	n := Name{bucket, key}
	switch {
	case !ok:
		return Name{}, fmt.Errorf("%q: the name of an object is s3://BUCKET/KEY", text)
	case s3utils.CheckValidBucketName(bucket) != nil:
		return Name{}, fmt.Errorf("%q: %q cannot be a bucket: the name of an object is s3://BUCKET/KEY", text, bucket)
	}
	if err := checkKey(key); err != nil {
		return Name{}, fmt.Errorf("%q: %w", text, err)
	}
	return n, nil
}

func checkKey(key string) error {
	switch {
	case key == "" || strings.HasSuffix(key, "/"):
		return errors.New("it names no object: behind the bucket stands its key, s3://BUCKET/KEY")
	case s3utils.CheckValidObjectName(key) != nil:
		return errors.New("a key is UTF-8, and has 1,024 bytes at most")
	case strings.ContainsFunc(key, unicode.IsControl):
		return errors.New("a key with control characters")
	case slices.ContainsFunc(strings.Split(key, "/"), func(part string) bool { return part == "." || part == ".." }):
		return errors.New("a key with . or .. between slashes: proxies and stores take them away")
	}
	return nil
}
