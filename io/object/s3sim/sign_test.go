package s3sim

import (
	"net/http"
	"testing"
	"time"
)

// The examples of Amazon's documents, to the letter.
func TestSign(t *testing.T) {
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, method, url, hash, names string
		header                         map[string]string
		want                           string
	}{
		{
			name: "GET object", method: "GET", url: "https://examplebucket.s3.amazonaws.com/test.txt", hash: empty,
			names: "host;range;x-amz-content-sha256;x-amz-date", header: map[string]string{"Range": "bytes=0-9"},
			want: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		},
		{
			name: "PUT object", method: "PUT", url: "https://examplebucket.s3.amazonaws.com/test%24file.text",
			hash:   "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			names:  "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			header: map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY"},
			want:   "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		},
		{
			name: "GET bucket lifecycle", method: "GET", url: "https://examplebucket.s3.amazonaws.com/?lifecycle", hash: empty,
			names: "host;x-amz-content-sha256;x-amz-date",
			want:  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		},
		{
			name: "list objects", method: "GET", url: "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", hash: empty,
			names: "host;x-amz-content-sha256;x-amz-date",
			want:  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequest(tt.method, tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Amz-Date", "20130524T000000Z")
			r.Header.Set("X-Amz-Content-Sha256", tt.hash)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			if got := sign(r, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", tt.names, "us-east-1", at); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
