package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/adrg/xdg"
	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"chatbatch/io/export"
	"chatbatch/io/object"
	"chatbatch/jobs"
)

// objects says where objects are (s3://BUCKET/KEY), for inputs and outputs. Nothing
// of it is looked at unless such a name is used.
type objects struct {
	s3Endpoint string
	s3Region   string
	s3Style    string
	s3Keys     string // the file of them
}

func (o *objects) add(fs *pflag.FlagSet) {
	fs.StringVar(&o.s3Endpoint, "s3-endpoint", "", "URL of the store of s3:// names, e.g. https://cos.ap-singapore.myqcloud.com (default $AWS_ENDPOINT_URL_S3)")
	fs.StringVar(&o.s3Region, "s3-region", "", "of its buckets (default: by the endpoint, $AWS_REGION, or as the store says)")
	fs.StringVar(&o.s3Style, "s3-style", "", "where a request names the bucket: virtual (in the host) or path (default: by the endpoint)")
	fs.StringVar(&o.s3Keys, "s3-credentials-file", "", "file like ~/.aws/credentials, readable by its owner only (default: $AWS_ACCESS_KEY_ID …, or that file)")
}

// recorded are the flags of a store that belong to a run whose output is there: with
// another store, the command is another one.
func (o *objects) recorded() map[string]*string {
	return map[string]*string{"s3-endpoint": &o.s3Endpoint, "s3-region": &o.s3Region, "s3-style": &o.s3Style}
}

// record adds where the output is to the options of a run.
func (j *job) record(options map[string]string) {
	if !object.Is(j.target) {
		return
	}
	for name, text := range j.recorded() {
		if *text != "" {
			options[name] = *text
		}
	}
	options["s3-endpoint"] = j.endpointOf(j.w.getenv)
}

// again takes over an option of an earlier run, if it is one of a store. What is given
// now goes before it.
func (o *objects) again(name, text string) bool {
	value := o.recorded()[name]
	if value != nil {
		*value = cmp.Or(*value, text)
	}
	return value != nil
}

func (o *objects) endpointOf(getenv func(string) string) string {
	return strings.TrimRight(cmp.Or(o.s3Endpoint, getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL")), "/")
}

// openStore makes the store of all objects.
func (o *objects) openStore(ctx context.Context, getenv func(string) string) (*object.Store, error) {
	endpoint := o.endpointOf(getenv)
	if endpoint == "" {
		return nil, usage("say where the object storage is: --s3-endpoint, e.g. https://cos.ap-singapore.myqcloud.com or https://s3.eu-central-1.amazonaws.com")
	}
	keys, err := o.keys(getenv)
	if err != nil {
		return nil, err
	}
	s, err := object.Open(ctx, object.Options{
		Endpoint: endpoint, Style: o.s3Style, Keys: keys,
		Region: cmp.Or(o.s3Region, getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
	})
	if err != nil {
		return nil, usage("object storage: %w (--s3-endpoint, --s3-style, --s3-credentials-file)", err)
	}
	return s, nil
}

// keys finds the keys of the store where programs for S3 look for them. They are
// never a flag: arguments can be read by everybody on the host.
func (o *objects) keys(getenv func(string) string) (object.Keys, error) {
	k := object.Keys{Profile: getenv("AWS_PROFILE")}
	if o.s3Keys != "" {
		k.File = o.s3Keys
		_, err := readPrivate("credentials of the object storage", k.File, true)
		return k, err
	}
	k.ID, k.Secret, k.Token = getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN")
	if k.ID != "" || k.Secret != "" {
		return k, nil
	}
	for _, name := range keyFiles(getenv) {
		if _, err := os.Stat(name); err == nil {
			k.File = name
			return k, nil
		}
	}
	return k, usage("no credentials of the object storage: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (COS calls them SecretId and SecretKey), or give --s3-credentials-file, or write ~/.aws/credentials")
}

// keyFiles are the files in which keys may be: those of a service, and those of a user.
func keyFiles(getenv func(string) string) (names []string) {
	if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		names = append(names, filepath.Join(dir, "chatbatch_s3"))
	}
	home := getenv("HOME")
	if runtime.GOOS == "windows" {
		home = xdg.Home
	}
	if name := getenv("AWS_SHARED_CREDENTIALS_FILE"); name != "" {
		names = append(names, name)
	} else if home != "" {
		names = append(names, filepath.Join(home, ".aws", "credentials"))
	}
	return names
}

// isAddress says whether a name is one of a file elsewhere. Only those of objects can
// be used.
func isAddress(name string) bool { return strings.Contains(name, "://") }

// openObject opens the object called name. It is copied once: what is planned is
// what was identified, and half of it is nothing.
func (j *job) openObject(ctx context.Context, name, dir string) (*source, error) {
	if scheme, _, _ := strings.Cut(name, "://"); !object.Is(name) { // the rest of it may hold a signature
		return nil, usage("%s://: an input is a file, - for stdin, or an object s3://BUCKET/KEY (of Tencent COS, too)", scheme)
	}
	n, err := object.Parse(name)
	if err != nil {
		return nil, usage("%w", err)
	}
	store, err := j.openStore(ctx, j.w.getenv)
	if err != nil {
		return nil, err
	}
	s := &source{name: name, temp: true, stays: true, meter: &jobs.Meter{}}
	r, err := store.Get(ctx, n)
	if err == nil {
		if r.Size > largeObject {
			j.log.Info("copying "+name, "size", humanize.IBytes(uint64(r.Size)))
		}
		s.file, err = copied(j.prog.count(r), dir) // it ends with ctx
		r.Close()
	}
	if err != nil {
		return nil, s.unread(ctx, err)
	}
	return s, nil
}

// largeObject is the size of an object, in bytes, from which on one wants to know
// what is going on.
const largeObject = 64 << 20

// absolute is the name of a file or an object wherever the command is given.
func absolute(name string) (string, error) {
	if object.Is(name) {
		return name, nil
	}
	return filepath.Abs(name)
}

// checkObject refuses an output that cannot be an object.
func (j *job) checkObject(input string) error {
	if _, err := object.Parse(j.target); err != nil {
		return usage("-o %w", err)
	}
	if input == j.target {
		return usage("-o %s is the input: it would be overwritten", j.target)
	}
	return nil
}

// probe finds out before the first call whether the output can be written, if it is
// an object. (Of a file, checkTarget does.)
func (j *job) probe(ctx context.Context) error {
	target := cmp.Or(j.instead, j.target)
	if !object.Is(target) {
		return nil
	}
	store, err := j.openStore(ctx, j.w.getenv)
	if err != nil {
		return err
	}
	for _, name := range []string{target, target + manifestSuffix} {
		n, err := object.Parse(name)
		if err == nil {
			err = store.Probe(ctx, n)
		}
		if err != nil && ctx.Err() == nil {
			return usage("-o %s: %w", name, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// outgoingName is the directory of a run with what is to be sent.
const outgoingName = "outgoing"

// An outgoing is an export on its way to be an object: it is written into the
// directory of its run, whole, and sent from there.
type outgoing struct {
	job *job
	run string
	dir string // with the table and its manifest, until they are sent
	on  bool   // it is one, and not an export that goes elsewhere
}

// outgoing changes a publication to go to an object, if that is where it is to go. What
// a killed process left of such a one is removed, and its upload given up.
func (j *job) outgoing(ctx context.Context, run string, p *jobs.Publication) (*outgoing, error) {
	o := &outgoing{job: j, run: run, dir: filepath.Join(j.store.Path(run), outgoingName), on: object.Is(j.target)}
	o.remove()
	if _, err := os.Stat(o.note()); err == nil {
		if store, err := j.openStore(ctx, j.w.getenv); err == nil {
			store.Sweep(ctx, o.note())
		}
	}
	if o.on {
		p.File, p.Path, p.Manifest = path.Base(j.target), o.table(), o.table()+manifestSuffix
		return o, os.Mkdir(o.dir, 0o700)
	}
	return o, nil
}

func (o *outgoing) table() string { return filepath.Join(o.dir, "table") }

// note is the file of the note of an upload in parts.
func (o *outgoing) note() string { return filepath.Join(o.job.store.Path(o.run), "upload.json") }

// remove removes what is sent, or will be made again.
func (o *outgoing) remove() { _ = os.RemoveAll(o.dir) }

// send sends the table, and then the manifest, if they go to an object. Unlike the
// writing of a file it may take long: it stops when ctx ends.
func (o *outgoing) send(ctx context.Context, f export.Format, done jobs.Published) error {
	if !o.on {
		return nil
	}
	j := o.job
	store, err := j.openStore(ctx, j.w.getenv)
	if err != nil {
		return err
	}
	j.log.Info("sending "+j.target, "size", humanize.IBytes(uint64(done.Bytes)))
	for _, u := range []struct {
		name string
		object.Upload
	}{
		{j.target, object.Upload{File: o.table(), ContentType: contentType(f), SHA256: done.SHA256, Note: o.note()}},
		{j.target + manifestSuffix, object.Upload{File: o.table() + manifestSuffix, ContentType: "application/json", Note: o.note()}},
	} {
		n, err := object.Parse(u.name)
		if err == nil {
			err = store.Put(ctx, n, u.Upload)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("publish %s: %w. What was fetched is kept; it can go elsewhere: %s", u.name, err, j.elsewhereCommand(o.run, "FILE"))
		}
	}
	return nil
}

// contentType is how a table of a format is called. One that is compressed is called
// by that: it comes out of the store as it went in.
func contentType(f export.Format) string {
	return map[string]string{
		"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "gz": "application/gzip", "zst": "application/zstd",
		"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	}[cmp.Or(f.Compression, f.Kind)]
}
