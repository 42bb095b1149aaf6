package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/internal/freeport/servertest"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

// TestMain ends the servers that tests started.
func TestMain(m *testing.M) {
	code := m.Run()
	shared.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// server is a redis-server of a test's own.
type server struct {
	servertest.Server

	addr string
	args []string
}

// needServer skips where there is no redis-server; in CI that is a failure.
func needServer(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	const why = "there is no redis-server in PATH (Debian: apt-get install redis-server)"
	if os.Getenv("OCEANCHAT_CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func freePort() (string, error) {
	addrs, err := freeport.Take(1)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(addrs[0])
	return port, err
}

// start runs a server with its files in dir and waits until it answers. Another process may take the port meanwhile,
// so it tries again.
func start(dir string, args ...string) (*server, error) {
	var err error
	for range 5 {
		port, e := freePort()
		if e != nil {
			return nil, e
		}
		s := &server{addr: "127.0.0.1:" + port}
		s.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--loglevel", "warning"}, args...)
		if err = s.run(); err == nil {
			return s, nil
		}
		s.Kill()
	}
	return nil, err
}

// run starts the process, also again on the same address.
func (s *server) run() error {
	return s.Run(exec.Command("redis-server", s.args...), func() error {
		db := s.dial()
		defer db.Close()
		return db.Ping(context.Background()).Err()
	})
}

func (s *server) dial() *driver.Client {
	return driver.NewClient(&driver.Options{Addr: s.addr, MaxRetries: -1, DialTimeout: time.Second})
}

// eventually waits for what a server does by itself.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := servertest.Poll(f); err != nil {
		t.Errorf("%s: not in time: %v", what, err)
	}
}

func own(t *testing.T, args ...string) *server {
	t.Helper()
	needServer(t)
	s, err := start(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// servers are those that many tests share, each under its own prefix.
type servers struct {
	mu     sync.Mutex
	single string
	nodes  []*server // of a Cluster
	named  []string  // a Cluster from the environment
	all    []*server
	dirs   []string
	count  int
	failed error // why a Cluster did not start, so that it is not tried for every test
}

var shared servers

func (s *servers) stop() {
	for _, x := range s.all {
		x.Kill()
	}
	for _, d := range s.dirs {
		_ = os.RemoveAll(d)
	}
}

func (s *servers) start(args ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "oceanchat-redis")
	if err != nil {
		return nil, err
	}
	s.dirs = append(s.dirs, dir)
	x, err := start(dir, args...)
	if err == nil {
		s.all = append(s.all, x)
	}
	return x, err
}

// prefix returns one that no other test uses, also in another process.
func (s *servers) prefix() string {
	s.count++
	return fmt.Sprintf("test-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), s.count)
}

// singleConfig returns the settings for the shared single server, or that which OCEANCHAT_TEST_REDIS names.
func singleConfig(t *testing.T) redis.Config {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.single == "" {
		shared.single = os.Getenv("OCEANCHAT_TEST_REDIS")
	}
	if shared.single == "" {
		needServer(t)
		x, err := shared.start()
		if err != nil {
			t.Fatal(err)
		}
		shared.single = x.addr
	}
	return defaults(shared.prefix(), shared.single)
}

// clusterConfig returns the settings for the shared Cluster of three masters, or that which OCEANCHAT_TEST_REDIS_CLUSTER names.
func clusterConfig(t *testing.T) redis.Config {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if s := os.Getenv("OCEANCHAT_TEST_REDIS_CLUSTER"); s != "" {
		shared.named = strings.Split(s, ",")
	}
	if shared.named == nil {
		needServer(t)
		shared.startCluster()
		if shared.failed != nil {
			t.Fatal(shared.failed)
		}
	}
	cfg := defaults(shared.prefix(), shared.named...)
	cfg.Cluster = true
	return cfg
}

// ownCluster is clusterConfig for a test that breaks, stops or reconfigures the nodes. A Cluster that
// OCEANCHAT_TEST_REDIS_CLUSTER names is somebody's and is spared; without that variable, as in CI, nothing is skipped.
func ownCluster(t *testing.T) redis.Config {
	t.Helper()
	cfg := clusterConfig(t)
	if len(shared.nodes) == 0 {
		t.Skip("the Cluster of OCEANCHAT_TEST_REDIS_CLUSTER is not ours to harm")
	}
	return cfg
}

// defaults returns the default settings for servers, but with the patience that a busy machine needs.
func defaults(prefix string, addrs ...string) redis.Config {
	var root struct {
		Redis redis.Config `yaml:"redis"`
	}
	if _, err := config.Load(&root, config.Sources{}); err != nil {
		panic(err)
	}
	cfg := root.Redis
	cfg.Addrs, cfg.Prefix, cfg.CallTimeout = addrs, prefix, 5*time.Second
	return cfg
}

func (s *servers) startCluster() {
	if s.failed != nil || s.named != nil {
		return
	}
	s.failed = s.tryCluster()
	if s.failed == nil {
		for _, n := range s.nodes {
			s.named = append(s.named, n.addr)
		}
	}
}

func (s *servers) tryCluster() error {
	const n, slots = 3, 16384
	for range n {
		bus, err := freePort()
		if err != nil {
			return err
		}
		x, err := s.start("--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-port", bus)
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, x)
	}
	ctx := context.Background()
	for i, x := range s.nodes {
		db := x.dial()
		defer db.Close()
		host, port, _ := net.SplitHostPort(s.nodes[0].addr)
		var bus string
		for j, a := range s.nodes[0].args {
			if a == "--cluster-port" {
				bus = s.nodes[0].args[j+1]
			}
		}
		err := errors.Join(
			db.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			db.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*slots/n, (i+1)*slots/n-1).Err(),
		)
		if i > 0 {
			err = errors.Join(err, db.Do(ctx, "CLUSTER", "MEET", host, port, bus).Err())
		}
		if err != nil {
			return fmt.Errorf("make a cluster: %w", err)
		}
	}
	for _, x := range s.nodes {
		db := x.dial()
		defer db.Close()
		err := servertest.Poll(func() error {
			info, err := db.ClusterInfo(ctx).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")) {
				err = errors.New(info)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("join a cluster: %w", err)
		}
	}
	return nil
}

// dial returns a client that ends with the test.
func dial(t *testing.T, cfg redis.Config) *redis.Client {
	t.Helper()
	c, err := redis.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// kinds are what every rule must hold for.
var kinds = []struct {
	name   string
	config func(*testing.T) redis.Config
}{
	{"single", singleConfig},
	{"cluster", clusterConfig},
}
