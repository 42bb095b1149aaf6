package s3

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/netdoor"
)

// Config says which bucket to use.
type Config struct {
	Endpoint  string        `yaml:"endpoint" default:"http://127.0.0.1:9000" doc:"Address of the store: http:// or https://, host and port."`
	CA        string        `yaml:"ca" doc:"File of the certificates that sign the store's; empty means the machine's."`
	Region    string        `yaml:"region" default:"us-east-1" doc:"Region that requests are signed for."`
	Bucket    string        `yaml:"bucket" default:"oceanchat" doc:"The bucket; it must be there."`
	AccessKey string        `yaml:"access_key" doc:"The key that the store knows us by."`
	SecretKey config.Secret `yaml:"secret_key" doc:"The secret that belongs to access_key."`
	PathStyle bool          `yaml:"path_style" default:"true" doc:"Whether the bucket is named in the path; else it is part of the host's name."`
	Prefix    string        `yaml:"prefix" default:"media/" doc:"What the names of all objects begin with, so that several installations can share a bucket."`
	Timeout   time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"5m" doc:"How long the store may take to answer a request, and to take or give the next piece of a blob."`
}

// What buckets and prefixes may be called: names that need no escaping anywhere.
var (
	bucketRule = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixRule = regexp.MustCompile(`^([A-Za-z0-9_-]+/)*[A-Za-z0-9_-]*$`)
)

// maxPrefix is in bytes; with an id it stays far below the 1024 that S3 allows.
const maxPrefix = 256

// Validate reports what the tags can't say. No keys at all are valid, as for whoever does not use the store; New refuses
// them.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, errors.New("endpoint: http:// or https:// and a host, nothing else")) // without the text: it may hold a password
	}
	if c.Region == "" {
		errs = append(errs, errors.New("region: not empty; us-east-1 where the store has none"))
	}
	if !bucketRule.MatchString(c.Bucket) {
		errs = append(errs, errors.New("bucket: 3 to 63 of a-z, 0-9, '.' and '-'"))
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		errs = append(errs, errors.New("access_key and secret_key belong together"))
	}
	if !prefixRule.MatchString(c.Prefix) || len(c.Prefix) > maxPrefix {
		errs = append(errs, fmt.Errorf("prefix: words of A-Z, a-z, 0-9, '_' and '-' with one '/' between, at most %d bytes", maxPrefix))
	}
	return errors.Join(errs...)
}

// newWire returns what makes the connections.
func newWire(cfg Config) (*http.Transport, error) {
	t, err := netdoor.ClientTLS{Enabled: strings.HasPrefix(cfg.Endpoint, "https:"), CA: cfg.CA}.Config()
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: t, DisableCompression: true,
		MaxIdleConns: idleConns, MaxIdleConnsPerHost: idleConns, IdleConnTimeout: time.Minute, ExpectContinueTimeout: time.Second,
	}, nil
}

// newCore returns a client of the driver that sends a request at most so many times.
func newCore(cfg Config, wire *http.Transport, creds *credentials.Credentials, times int) (minio.Core, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return minio.Core{}, errors.New("endpoint: not an address")
	}
	lookup := minio.BucketLookupDNS
	if cfg.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: creds, Secure: u.Scheme == "https", Transport: asking{wire}, Region: cfg.Region, BucketLookup: lookup, MaxRetries: times,
		TrailingHeaders: u.Scheme == "https",
	})
	if err != nil {
		return minio.Core{}, err
	}
	core.SetAppInfo("oceanchat", "")
	return *core, nil
}

// asking asks the store whether it wants a large body before it sends it. A refusal is so known as what it is; without
// that the connection breaks first.
type asking struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (a asking) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.ContentLength > small {
		req = req.Clone(req.Context())
		req.Header.Set("Expect", "100-continue") // not signed
	}
	return a.Transport.RoundTrip(req)
}
