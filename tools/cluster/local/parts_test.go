package local_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

const (
	createStream = `{"name":"S","subjects":["s.>"],"storage":"file","num_replicas":3}`
	created      = `"did_create":true`
)

// Three servers are a cluster that goes on without one of them, which comes back.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir())
	o.Servers = 3
	parts := start(t, o)
	services := fake(t, parts, local.ServiceOptions{Groups: [][]string{{"auth"}}, Instances: map[string]int{"auth": 1}})
	ask := func(p *local.Process, subject, body, want string) {
		t.Helper()
		var said string
		eventually(t, subject+" answers "+want, func() bool {
			answer, err := services.Ask(t.Context(), p, subject, body)
			said = string(answer)
			return err == nil && strings.Contains(said, want)
		})
	}
	first, second := parts.NATS[0], parts.Process("nats-2")
	ask(first, "$JS.API.STREAM.CREATE.S", createStream, created)
	ask(first, "s.a", "one", `"seq":1`)
	second.Kill()
	if second.Running() || !gone(second.PID()) {
		t.Error("nats-2 runs after Kill")
	}
	ask(first, "s.a", "two", `"seq":2`)
	if err := second.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(second, "$JS.API.STREAM.INFO.S", "", `"messages":2`)
}

// Tenants see nothing of each other, and what one leaves is not there for the next.
func TestTenants(t *testing.T) {
	t.Parallel()
	parts := start(t, options(t.TempDir()))
	groups := local.ServiceOptions{Groups: [][]string{{"auth"}}, Instances: map[string]int{"auth": 1}}
	one, two := fake(t, parts, groups), fake(t, parts, groups)
	for _, s := range []*local.Services{one, two} { // the same name, twice
		answer, err := s.Ask(t.Context(), parts.NATS[0], "$JS.API.STREAM.CREATE.S", strings.Replace(createStream, "3", "1", 1))
		if err != nil || !strings.Contains(string(answer), created) {
			t.Fatalf("STREAM.CREATE = %s, %v; want %s", answer, err, created)
		}
	}
	if err := one.AskAs(t.Context(), parts.NATS[0], two); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
		t.Errorf("login with another's password = %v; want Authorization Violation", err)
	}
	if err := one.Stop(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // three tenants, one of them in use
		s := fake(t, parts, groups)
		answer, err := s.Ask(t.Context(), parts.NATS[0], "$JS.API.STREAM.NAMES", "")
		if err != nil || !strings.Contains(string(answer), `"total":0`) {
			t.Errorf("STREAM.NAMES of a new tenant = %s, %v; want none", answer, err)
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := two.Ask(t.Context(), parts.NATS[0], "$JS.API.STREAM.NAMES", "")
	if err != nil || !strings.Contains(string(answer), `"total":1`) {
		t.Errorf("STREAM.NAMES of the other tenant = %s, %v; want its stream", answer, err)
	}
}

// After Stop no process is left, and nobody listens.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	needRedis(t)
	parts, err := local.StartParts(t.Context(), options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if err := parts.Redis.Pause(); err != nil { // also what hangs is ended
		t.Error(err)
	}
	if err := parts.Stop(); err != nil {
		t.Error(err)
	}
	for _, p := range parts.Processes() {
		if p.Running() || !gone(p.PID()) {
			t.Errorf("%s runs after Stop", p.Name)
		}
		l, err := net.Listen("tcp", p.Addr)
		if err != nil {
			t.Errorf("the port of %s is taken after Stop: %v", p.Name, err)
			continue
		}
		l.Close()
	}
}

// The files of the NATS servers are where the caller wants them, and what he has there stays.
func TestStores(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir())
	o.NATSStores = t.TempDir()
	mine := filepath.Join(o.NATSStores, "nats-1", "mine")
	if err := errors.Join(os.Mkdir(filepath.Dir(mine), 0o700), os.WriteFile(mine, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	parts := start(t, o)
	services := fake(t, parts, local.ServiceOptions{Groups: [][]string{{"auth"}}, Instances: map[string]int{"auth": 1}})
	answer, err := services.Ask(t.Context(), parts.NATS[0], "$JS.API.STREAM.CREATE.S", strings.Replace(createStream, "3", "1", 1))
	if err != nil || !strings.Contains(string(answer), created) {
		t.Fatalf("STREAM.CREATE = %s, %v; want %s", answer, err, created)
	}
	found, _ := filepath.Glob(filepath.Join(o.NATSStores, "nats-1", "jetstream", "*", "streams", "S"))
	if len(found) != 1 || parts.Disk(parts.NATS[0]) != filepath.Dir(mine) {
		t.Errorf("the stream is in %q, Disk = %q; want one in %q", found, parts.Disk(parts.NATS[0]), filepath.Dir(mine))
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

// What ends by itself is told.
func TestEndedByItself(t *testing.T) {
	t.Parallel()
	needRedis(t)
	parts, err := local.StartParts(t.Context(), options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	redis, err := os.FindProcess(parts.Redis.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if code, err := parts.Redis.Wait(t.Context()); code != -1 || err != nil {
		t.Errorf("Wait = %d, %v; want -1, nil", code, err)
	}
	if err := parts.Stop(); err == nil || !strings.Contains(err.Error(), "redis ended by itself") {
		t.Errorf("Stop = %v; want that redis ended by itself", err)
	}
}

// Whoever started the parts is killed: they end too.
func TestParentDies(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" { // PDEATHSIG, which nobody else has
		t.Skip("only Linux ties the life of a child to its parent's")
	}
	needRedis(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), childVariable+"="+t.TempDir())
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = parent.Process.Kill()
	_ = parent.Wait()
	pids := strings.Fields(line)
	if err != nil || len(pids) != 2 {
		t.Fatalf("the child printed %q, %v; want two ids", line, err)
	}
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "process "+text+" is gone", func() bool { return gone(pid) })
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		o    local.Options
		want string
	}{
		{"no directory", local.Options{}, "no directory"},
		{"two servers have no majority", local.Options{Dir: t.TempDir(), Servers: 2}, "want 1 or 3"},
		{"an unknown sync", local.Options{Dir: t.TempDir(), Sync: "never"}, "want always or interval"},
		{"more tenants than names", local.Options{Dir: t.TempDir(), Tenants: 1000}, "at most 999"},
		{"to keep what is forgotten", local.Options{Dir: t.TempDir(), Keep: true}, "the stand-in forgets"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			parts, err := local.StartParts(t.Context(), tt.o)
			if parts != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("StartParts = %v, %v; want an error with %q", parts, err, tt.want)
			}
		})
	}
}
