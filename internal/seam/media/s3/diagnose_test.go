package s3_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/oceanchat/oceanchat/internal/finding"
	"github.com/oceanchat/oceanchat/internal/finding/findingtest"
	"github.com/oceanchat/oceanchat/internal/seam/media/s3"
)

func TestDiagnose(t *testing.T) {
	t.Parallel()
	type want struct {
		level       finding.Level
		check, text string
	}
	public := func(t *testing.T, cfg *s3.Config) {
		cfg.Bucket = "public-" + strings.ToLower(cfg.Prefix[5:18])
		c := client(t, *cfg)
		if err := c.MakeBucket(t.Context(), cfg.Bucket, minio.MakeBucketOptions{}); err != nil {
			t.Fatal(err)
		}
		policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::%s/*"]}]}`, cfg.Bucket)
		if err := c.SetBucketPolicy(t.Context(), cfg.Bucket, policy); err != nil {
			t.Fatal(err)
		}
	}
	readOnly := func(t *testing.T, cfg *s3.Config) {
		dir := t.TempDir()
		s, err := start(program(t), dir)
		if err != nil {
			t.Fatal(err)
		}
		err = furnish(s.url)
		s.Kill()
		if err != nil {
			t.Fatal(err)
		}
		if s, err = start(program(t), dir, "--readonly"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Kill)
		cfg.Endpoint = s.url
	}
	tests := []struct {
		name   string
		ask    func(*testing.T, *s3.Config)
		within time.Duration // 0: as long as Diagnose takes
		want   []want
		fine   bool // no problem, and no warning but of the clock, as the server's Date lags where the machine is busy
	}{
		{name: "as it should be", fine: true, want: []want{
			{finding.OK, "media store http://127.0.0.1", "bucket oceanchat is there"},
			{finding.OK, "media store privacy", "may not read"},
			{finding.OK, "media store writes", "put, read and deleted"},
			{finding.OK, "media store versions", "none are kept"},
		}},
		{name: "TLS", ask: func(t *testing.T, c *s3.Config) { between(t, c, true) }, fine: true, want: []want{{finding.OK, "media store writes", ""}}},
		{name: "versions", ask: func(_ *testing.T, c *s3.Config) { c.Bucket = versions }, want: []want{{finding.Warning, "media store versions", "what is deleted stays"}}},
		{name: "public", ask: public, want: []want{{finding.Problem, "media store privacy", "anybody"}, {finding.OK, "media store writes", ""}}},
		{name: "read only", ask: readOnly, want: []want{{finding.OK, "media store http", ""}, {finding.Problem, "media store writes", "AccessDenied"}}},
		{name: "no such bucket", ask: func(_ *testing.T, c *s3.Config) { c.Bucket = "nowhere" }, want: []want{{finding.Problem, "media store http", "has no bucket nowhere"}}},
		{name: "wrong secret", ask: func(_ *testing.T, c *s3.Config) { c.SecretKey = "sesame7" }, want: []want{{finding.Problem, "media store http", "does not let us in"}}},
		{name: "wrong key", ask: func(_ *testing.T, c *s3.Config) { c.AccessKey = "nobody" }, want: []want{{finding.Problem, "media store http", "does not let us in"}}},
		{name: "a wrong clock", ask: func(t *testing.T, c *s3.Config) {
			between(t, c, false).set(-1, trouble{date: "Mon, 02 Jan 2006 15:04:05 GMT"})
		}, want: []want{{finding.Warning, "clock of the media store", "behind this machine's"}}},
		{name: "no keys", ask: func(_ *testing.T, c *s3.Config) { c.AccessKey, c.SecretKey = "", "" }, want: []want{{finding.Problem, "media store", "not set"}}},
		{name: "not valid", ask: func(_ *testing.T, c *s3.Config) { c.Bucket = "X" }, want: []want{{finding.Problem, "media store", "bucket: "}}},
		{name: "no such CA", ask: func(_ *testing.T, c *s3.Config) { c.Endpoint, c.CA = "https://127.0.0.1:1", "/nowhere" }, want: []want{{finding.Problem, "media store", "/nowhere"}}},
		{name: "nobody there", ask: func(_ *testing.T, c *s3.Config) { c.Endpoint = "http://127.0.0.1:1" }, want: []want{{finding.Problem, "media store http://127.0.0.1:1", "cannot be reached"}}},
		{name: "TLS where there is none", ask: func(_ *testing.T, c *s3.Config) { c.Endpoint = strings.Replace(c.Endpoint, "http:", "https:", 1) }, want: []want{{finding.Problem, "media store https", "cannot be spoken with"}}},
		{name: "silent", ask: func(t *testing.T, c *s3.Config) { between(t, c, false).set(-1, trouble{silent: true}) }, within: 500 * time.Millisecond, want: []want{{finding.Problem, "media store http", "does not answer in time"}}},
		{name: "in trouble", ask: func(t *testing.T, c *s3.Config) { between(t, c, false).set(-1, trouble{status: 503}) }, want: []want{{finding.Problem, "media store http", "answers 503"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := local(t)
			direct := cfg
			if tt.ask != nil {
				tt.ask(t, &cfg)
			}
			ctx := t.Context()
			if tt.within > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.within)
				defer cancel()
			}
			found := s3.Diagnose(ctx, cfg)
			for _, w := range tt.want {
				findingtest.Want(t, found, w.level, w.check, w.text)
			}
			if i := slices.IndexFunc(found, func(f finding.Finding) bool { return f.Level != finding.OK && !strings.HasPrefix(f.Check, "clock") }); tt.fine && i >= 0 {
				t.Errorf("unwanted: %s", findingtest.Lines(found[i:i+1]))
			}
			if s := findingtest.Lines(found); strings.Contains(s, secretKey) || strings.Contains(s, "sesame7") {
				t.Errorf("a secret is told:\n%s", s)
			}
			if got := objects(t, direct); len(got) != 0 {
				t.Errorf("it left %v; want nothing", got)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  func(*s3.Config)
		want string // the beginning of the error; "": none
	}{
		{"defaults", func(*s3.Config) {}, ""},
		{"no keys", func(c *s3.Config) { c.AccessKey, c.SecretKey = "", "" }, ""},
		{"no prefix", func(c *s3.Config) { c.Prefix = "" }, ""},
		{"a prefix of words", func(c *s3.Config) { c.Prefix = "a/b-c/d_" }, ""},
		{"TLS", func(c *s3.Config) { c.Endpoint = "https://s3.example.org/" }, ""},
		{"half a pair", func(c *s3.Config) { c.SecretKey = "" }, "access_key and secret_key"},
		{"no scheme", func(c *s3.Config) { c.Endpoint = "s3.example.org:9000" }, "endpoint: "},
		{"a path", func(c *s3.Config) { c.Endpoint = "http://h/x" }, "endpoint: "},
		{"a password in the address", func(c *s3.Config) { c.Endpoint = "http://u:sesame7@h" }, "endpoint: "},
		{"no region", func(c *s3.Config) { c.Region = "" }, "region: "},
		{"upper case", func(c *s3.Config) { c.Bucket = "Ocean" }, "bucket: "},
		{"a prefix that climbs", func(c *s3.Config) { c.Prefix = "../" }, "prefix: "},
		{"a prefix from the root", func(c *s3.Config) { c.Prefix = "/a/" }, "prefix: "},
		{"a long prefix", func(c *s3.Config) { c.Prefix = strings.Repeat("a", 257) }, "prefix: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := defaults(t, "http://127.0.0.1:9000")
			tt.set(&cfg)
			got := ""
			if err := cfg.Validate(); err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") || strings.Contains(got, "sesame7") {
				t.Errorf("Validate = %q; want %q", got, tt.want)
			}
		})
	}
}
