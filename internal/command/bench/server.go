package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oceanchat/oceanchat/internal/freeport"
)

// Bounds on what a server may take.
const (
	startWithin = 60 * time.Second
	stopWithin  = 45 * time.Second
	pollEvery   = 2 * time.Millisecond // how finely the time of a start is seen
)

// goodHTTP is for everything that is asked over HTTP.
var goodHTTP = &http.Client{Timeout: 30 * time.Second}

// server is a running binary that this process started; it dies with it.
type server struct {
	base, ops string // http://host:port
	took      time.Duration
	cmd       *exec.Cmd
	done      chan struct{} // closed when the process is gone
	output    string        // path
}

// launch starts the binary on dir and free loopback ports and waits until it is ready. The process ends with ctx.
func launch(ctx context.Context, binary, dir string, flags ...string) (*server, error) {
	addrs, err := freeport.Take(2)
	if err != nil {
		return nil, err
	}
	s := &server{base: "http://" + addrs[0], ops: "http://" + addrs[1], done: make(chan struct{}), output: dir + ".log"}
	args := append([]string{
		"--data-dir", dir, "--http-addr", addrs[0], "--ops-addr", addrs[1], "--tcp-addr", "",
		"--api-gateway-rate-limit", "0", "--router-rate-limit", "0",
	}, flags...)
	out, err := os.OpenFile(s.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()                // the child has its own
	s.cmd = exec.CommandContext(ctx, binary, args...) //nolint:gosec // it is this very binary
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.Env = withoutSettings(os.Environ())
	begun := time.Now()
	if err := startTied(s.cmd, s.done); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	if err := s.awaitReady(begun); err != nil {
		s.kill()
		return nil, fmt.Errorf("%w; it said:\n%s", err, tail(s.output, 4000))
	}
	return s, nil
}

// startTied starts cmd so that it dies with this process, however that ends, where the system can do that, and closes
// done when it is gone. The kernel ties a child to the thread that started it, so that thread is kept.
func startTied(cmd *exec.Cmd, done chan<- struct{}) error {
	tie(cmd)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(done)
		}
	}()
	return <-started
}

// seedFlags make tokens that outlive a bench: its servers keep their defaults, which only say how long new ones live.
var seedFlags = []string{"--", "--auth-access-ttl=24h"}

// seedDir makes users in dir, as 'oceanchat dev seed' in a process of its own.
func seedDir(ctx context.Context, binary, dir, file string, users int) error {
	args := append([]string{"dev", "seed", "--users", strconv.Itoa(users), "--prefix", "bench", "--data-dir", dir, "--out", file}, seedFlags...)
	cmd := exec.CommandContext(ctx, binary, args...) //nolint:gosec // it is this very binary
	cmd.Env = withoutSettings(os.Environ())
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	done := make(chan struct{})
	if err := startTied(cmd, done); err != nil {
		return fmt.Errorf("make users: %w", err)
	}
	<-done
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("make users: status %d: %s", code, said.String())
	}
	return nil
}

// withoutSettings drops what would configure the server from outside.
func withoutSettings(env []string) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "OCEANCHAT_") {
			kept = append(kept, e)
		}
	}
	return kept
}

func (s *server) awaitReady(begun time.Time) error {
	for {
		if resp, err := goodHTTP.Get(s.ops + "/readyz"); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				s.took = time.Since(begun)
				return nil
			}
		}
		select {
		case <-s.done:
			return errors.New("the server ended before it was ready")
		case <-time.After(pollEvery):
		}
		if time.Since(begun) > startWithin {
			return fmt.Errorf("the server was not ready within %v", startWithin)
		}
	}
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop asks the server to end and waits until it is gone; if it does not go, it is killed, which is an error.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("the server ended with status %d; it said:\n%s", code, tail(s.output, 4000))
		}
		return nil
	case <-time.After(stopWithin):
		s.kill()
		return fmt.Errorf("the server did not end within %v of SIGTERM", stopWithin)
	}
}

// died tells what the server said last if it has ended by itself; else nil.
func (s *server) died() error {
	select {
	case <-s.done:
		return fmt.Errorf("the server ended with status %d; it said:\n%s", s.cmd.ProcessState.ExitCode(), tail(s.output, 4000))
	default:
		return nil
	}
}

// kill ends the server as the kernel does. It may be called again.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// watch is the server as what is measured.
func (s *server) watch() watch {
	return watch{{Name: "the server", PID: s.pid(), Ops: strings.TrimPrefix(s.ops, "http://")}}
}

// profile fetches a CPU profile of the next seconds into a file.
func (s *server) profile(ctx context.Context, d time.Duration, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ops+"/debug/pprof/profile?seconds="+strconv.Itoa(max(1, int(d.Seconds()))), nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: d + 30*time.Second}).Do(req)
	if err != nil {
		return fmt.Errorf("fetch the profile: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("fetch the profile: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch the profile: %s", resp.Status)
	}
	return os.WriteFile(filepath.Clean(path), data, 0o600)
}

// addMetrics adds the metrics of a process to sums.
func addMetrics(sums map[string]float64, text string) error {
	return eachMetric(text, func(name, _ string, v float64) { sums[name] += v })
}

// eachMetric calls do with every value of a page of metrics.
func eachMetric(text string, do func(name, labels string, v float64)) error {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		labels := ""
		if before, _, labelled := strings.Cut(line, "{"); labelled {
			end := strings.LastIndexByte(line, '}')
			name, labels, rest = before, line[len(before):end+1], line[end+1:]
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return fmt.Errorf("metric line %q", line)
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return fmt.Errorf("metric line %q: %w", line, err)
		}
		do(name, labels, v)
	}
	return nil
}
