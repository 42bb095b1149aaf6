// Package system tests the built binary from outside, as its users meet it: by its command line, its public contract
// and its operations port. Nothing here imports a service.
package system

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// binary is the path of the binary under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "oceanchat-system-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "oceanchat")
	build := exec.Command("go", "build", "-o", binary, "github.com/oceanchat/oceanchat/cmd/oceanchat")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the binary: %v\n%s", err, out)
		return 1
	}
	if os.Getenv(clusterMode) != "" {
		stop, err := startParts(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stop()
	} else if err := withoutCluster(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// server is one running binary on a data directory of its own, or a cluster of processes on parts.
type server struct {
	t     *testing.T
	dir   string
	flags []string
	base  string      // http://host:port
	ops   string      // http://host:port
	tcp   string      // host:port
	tls   *tls.Config // of clients, where flags make the server speak TLS on every port; base and ops are https then
	cmd   *exec.Cmd
	done  chan error
	log   *output
	// wrap, where set, changes how the binary is started.
	wrap func(s *server, cmd *exec.Cmd)

	services *local.Services // set in a cluster, where cmd, done, log and dir are not used
}

// output collects what the binary prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs the binary with a fresh data directory and waits until it is ready. Rate limits are off unless flags set
// them: tests come from one address.
func start(t *testing.T, flags ...string) *server {
	t.Helper()
	return startWith(t, nil, flags...)
}

func startWith(t *testing.T, wrap func(s *server, cmd *exec.Cmd), flags ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), flags: flags, log: &output{}, wrap: wrap}
	s.up()
	t.Cleanup(func() {
		s.end()
	})
	return s
}

// end is for the end of a test.
func (s *server) end() {
	s.kill()
	if s.t.Failed() {
		s.t.Logf("the server's output:\n%s", tail(s.output(), 8000))
	}
	if s.services != nil {
		s.services.Kill() // and lets go of its data
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// up starts the binary on the same directory and new ports, and waits until it is ready.
func (s *server) up() {
	s.t.Helper()
	if parts != nil {
		s.upCluster()
		return
	}
	http, ops, tcp := freeAddr(s.t), freeAddr(s.t), freeAddr(s.t)
	s.base, s.ops, s.tcp = "http://"+http, "http://"+ops, tcp
	if s.tls != nil {
		s.base, s.ops = "https://"+http, "https://"+ops
	}
	args := append([]string{
		"--data-dir", s.dir, "--http-addr", http, "--ops-addr", ops, "--tcp-addr", tcp,
		"--api-gateway-rate-limit", "0", "--router-rate-limit", "0",
	}, s.flags...)
	s.cmd = exec.Command(binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if s.wrap != nil {
		s.wrap(s, s.cmd)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start: %v", err)
	}
	s.done = make(chan error, 1)
	go func() { s.done <- s.cmd.Wait() }()
	eventually(s.t, "ready", func() bool {
		select {
		case err := <-s.done:
			s.done <- err
			s.t.Fatalf("the server ended before it was ready: %v", err)
		default:
		}
		return s.ready()
	})
}

func (s *server) ready() bool {
	web := s.web()
	defer web.CloseIdleConnections()
	resp, err := web.Get(s.ops + "/readyz")
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// web returns a client for the server's ports.
func (s *server) web() *http.Client {
	if s.tls == nil {
		return http.DefaultClient
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true}}
}

// kill ends the process as the kernel does, and waits until it is gone.
func (s *server) kill() {
	if parts != nil {
		if s.services != nil {
			s.killCluster()
		}
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
	s.done <- nil
}

// stop asks the process to end and returns its exit code.
func (s *server) stop() int {
	s.t.Helper()
	if parts != nil {
		return s.stopCluster()
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.done:
		s.done <- err
		if err == nil {
			return 0
		}
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(60 * time.Second):
		s.t.Fatal("the server did not end within 60 s of SIGTERM")
		return -1
	}
}

// metric returns the sum of a metric over its labels, as the operations port shows it, and over all processes.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	var sum float64
	for _, ops := range s.opsOfAll() {
		sum += metricOf(s.t, ops, name)
	}
	return sum
}

func metricOf(t *testing.T, ops, name string) (sum float64) {
	t.Helper()
	resp, err := http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' '):], &v); err != nil {
			t.Fatalf("metric line %q: %v", line, err)
		}
		sum += v
	}
	return sum
}

// user registers a user and logs it in.
func (s *server) user(name string) *client.User {
	s.t.Helper()
	u, err := client.Register(s.t.Context(), s.base, name)
	if err != nil {
		s.t.Fatalf("register %s: %v", name, err)
	}
	return u
}

// connect opens a long connection that ends with the test.
func connect(t *testing.T, u *client.User) *client.Conn {
	t.Helper()
	c, err := u.Connect(t.Context(), "", true)
	if err != nil {
		t.Fatalf("%s connects: %v", u.Username, err)
	}
	t.Cleanup(c.Close)
	return c
}

// freeAddr returns a loopback address that nobody listens on and nobody else is given.
func freeAddr(t *testing.T) string {
	t.Helper()
	addrs, err := freeport.Take(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		pause()
	}
}

// pause waits a little between two looks at a process that runs in real time.
func pause() { <-time.After(20 * time.Millisecond) }

// within returns a context that bounds one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
