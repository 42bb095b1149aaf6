package s3_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/internal/freeport/servertest"
	"github.com/oceanchat/oceanchat/internal/seam/media/s3"
)

// env names the bucket of a real store to run the suite against: https://KEY:SECRET@HOST/BUCKET, with ?region= and
// &virtual_host=true where it needs them. Tests put objects below test-<random id>/ and remove them.
const env = "OCEANCHAT_TEST_S3"

// What the tests' own server is told, and must never be seen anywhere else.
const (
	accessKey = "oceanchat-test"
	secretKey = "hunter2-hunter2-hunter2"
	bucket    = "oceanchat"
	versions  = "oceanchat-versions"
)

// server is a versitygw, a whole S3 server over a folder.
type server struct {
	servertest.Server

	url string
}

// shared is the server that tests use which do it no harm.
var shared struct {
	once sync.Once
	dir  string
	s    *server
	err  error
}

// TestMain ends the server that tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if shared.s != nil {
		shared.s.Kill()
	}
	_ = os.RemoveAll(shared.dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// program returns the server's, which the Makefile installs, or the one in PATH. Without it the test is skipped, which
// in CI is a failure.
func program(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("../../../../.bin/versitygw")
	if err != nil {
		bin, err = exec.LookPath("versitygw")
	}
	if err != nil {
		t.Skip("no versitygw: make versitygw") // .ci/run makes it, and fails on a skip
	}
	return bin
}

// start runs a server whose files are below dir, with both buckets, and waits until it answers. Another process may
// take the port meanwhile, so it tries again.
func start(bin, dir string, args ...string) (*server, error) {
	for _, d := range []string{dir + "/data", dir + "/old", dir + "/meta"} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	var err error
	for range 5 {
		var addrs []string
		if addrs, err = freeport.Take(1); err != nil {
			return nil, err
		}
		s := &server{url: "http://" + addrs[0]}
		// Extended attributes would be in step with their file, but not every file system has them.
		all := append([]string{"--port", addrs[0], "--health", "/health", "--keep-alive", "--quiet"}, args...)
		all = append(all, "posix", "--sidecar", dir+"/meta", "--versioning-dir", dir+"/old", dir+"/data")
		if err = s.run(exec.Command(bin, all...)); err == nil {
			return s, nil
		}
		s.Kill()
	}
	return nil, err
}

func (s *server) run(cmd *exec.Cmd) error {
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	return s.Run(cmd, s.health)
}

func (s *server) health() error {
	resp, err := http.Get(s.url + "/health")
	if err != nil {
		return err
	}
	defer http.DefaultClient.CloseIdleConnections()
	return resp.Body.Close()
}

// local returns the settings for the shared server, with a prefix that no other test uses.
func local(t *testing.T) s3.Config {
	t.Helper()
	bin := program(t)
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "oceanchat-s3"); shared.err != nil {
			return
		}
		if shared.s, shared.err = start(bin, shared.dir); shared.err == nil {
			shared.err = furnish(shared.s.url)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return defaults(t, shared.s.url)
}

// furnish makes the buckets.
func furnish(addr string) error {
	admin, err := minio.New(strings.TrimPrefix(addr, "http://"), &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1"})
	if err != nil {
		return err
	}
	for _, b := range []string{bucket, versions} {
		if err := admin.MakeBucket(context.Background(), b, minio.MakeBucketOptions{}); err != nil {
			return fmt.Errorf("make bucket %s: %w", b, err)
		}
	}
	return admin.EnableVersioning(context.Background(), versions)
}

// defaults returns the default settings for a server, but with the patience that a busy machine needs.
func defaults(t *testing.T, addr string) s3.Config {
	t.Helper()
	var root struct {
		S3 s3.Config `yaml:"s3"`
	}
	if _, err := config.Load(&root, config.Sources{}); err != nil {
		t.Fatal(err)
	}
	cfg := root.S3
	cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = addr, accessKey, secretKey
	cfg.Prefix, cfg.Timeout = "test-"+chat.NewID()+"/", time.Minute
	return cfg
}

// named returns the settings for the bucket that env names, or else for the shared server.
func named(t *testing.T) s3.Config {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return local(t)
	}
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		t.Fatal(env + ": not of the form https://KEY:SECRET@HOST/BUCKET")
	}
	cfg := defaults(t, u.Scheme+"://"+u.Host)
	secret, _ := u.User.Password()
	cfg.AccessKey, cfg.SecretKey, cfg.Bucket = u.User.Username(), config.Secret(secret), strings.Trim(u.Path, "/")
	cfg.PathStyle = u.Query().Get("virtual_host") != "true"
	if r := u.Query().Get("region"); r != "" {
		cfg.Region = r
	}
	return cfg
}

// dial returns blobs that are closed with the test, with what it put.
func dial(t *testing.T, cfg s3.Config) *s3.Blobs {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := s3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// client returns one of the driver, for what the seam does not show.
func client(t *testing.T, cfg s3.Config) *minio.Client {
	t.Helper()
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	wire := &http.Transport{}
	t.Cleanup(wire.CloseIdleConnections)
	c, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey.Reveal(), ""), Secure: u.Scheme == "https", Region: cfg.Region, Transport: wire,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// objects returns the names of all below the prefix of cfg.
func objects(t *testing.T, cfg s3.Config) (names []string) {
	t.Helper()
	for o := range client(t, cfg).ListObjects(context.Background(), cfg.Bucket, minio.ListObjectsOptions{Prefix: cfg.Prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		names = append(names, strings.TrimPrefix(o.Key, cfg.Prefix))
	}
	return names
}

// tidy removes what a test put, when it has ended.
func tidy(t *testing.T, cfg s3.Config) {
	t.Helper()
	t.Cleanup(func() {
		for _, name := range objects(t, cfg) {
			if err := client(t, cfg).RemoveObject(context.Background(), cfg.Bucket, cfg.Prefix+name, minio.RemoveObjectOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
}
