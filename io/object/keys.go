package object

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Keys are what a request is signed with: an access key, or a file that has one.
type Keys struct {
	ID, Secret string // COS calls them SecretId and SecretKey
	Token      string // of temporary keys

	File    string // in the form of ~/.aws/credentials, if there is no ID
	Profile string // the section of it; "" is default
}

// get reads the keys. A file is read again when what it gave runs out.
func (k Keys) get(ctx context.Context, way http.RoundTripper) (*credentials.Credentials, error) {
	switch {
	case k.ID != "" && k.Secret != "":
		return credentials.NewStaticV4(k.ID, k.Secret, k.Token), nil
	case k.ID != "" || k.Secret != "":
		return nil, errors.New("half a key: the ID of an access key and its secret go together")
	case k.File == "":
		return nil, errors.New("no keys")
	}
	if k.Profile == "" {
		k.Profile = "default"
	}
	c := credentials.NewFileAWSCredentials(k.File, k.Profile)
	v, err := c.GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: way}, Context: ctx})
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("read keys: %w", missing)
	}
	if err != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		// The error may quote a line of the file.
		return nil, fmt.Errorf("read keys: %s gives none: it has a section [%s] with aws_access_key_id = … and aws_secret_access_key = …, or a credential_process that works", k.File, k.Profile)
	}
	return c, nil
}
