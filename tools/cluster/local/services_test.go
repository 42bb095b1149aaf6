package local_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// fake starts services that are this binary.
func fake(t *testing.T, parts *local.Parts, o local.ServiceOptions) *local.Services {
	t.Helper()
	o.Env = append(o.Env, fakeVariable+"=yes")
	s, err := parts.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// say sends a request to the front and returns who answered, and with what.
func say(t *testing.T, s *local.Services, body string) (name, rest string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/x", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("X-Forwarded-For", "6.6.6.6") // of a client, not believed
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST = %s, %s, %v; want 200", resp.Status, answer, err)
	}
	name, rest, _ = strings.Cut(string(answer), " ")
	return name, rest
}

// whoAnswers counts who answers n requests.
func whoAnswers(t *testing.T, s *local.Services, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		name, _ := say(t, s, "")
		count[name]++
	}
	return count
}

func TestFront(t *testing.T) {
	t.Parallel()
	parts := start(t, options(t.TempDir()))
	s := fake(t, parts, local.ServiceOptions{Groups: [][]string{{"api-gateway"}, {"auth"}}})
	first, second := s.Process("api-gateway-1"), s.Process("api-gateway-2")

	if _, got := say(t, s, "hello"); got != "127.0.0.1 hello" {
		t.Errorf("an instance saw %q; want %q", got, "127.0.0.1 hello")
	}
	if diff := cmp.Diff(map[string]int{first.Name: 5, second.Name: 5}, whoAnswers(t, s, 10)); diff != "" {
		t.Errorf("ten requests (-want +got):\n%s", diff)
	}

	first.Kill()
	if diff := cmp.Diff(map[string]int{second.Name: 4}, whoAnswers(t, s, 4)); diff != "" {
		t.Errorf("after one was killed (-want +got):\n%s", diff)
	}
	if err := first.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both answer again", func() bool { return len(whoAnswers(t, s, 2)) == 2 })

	if resp, err := http.Get("http://" + second.Ops + "/drain"); err != nil {
		t.Error(err)
	} else {
		resp.Body.Close()
	}
	eventually(t, "who is not ready gets no requests", func() bool { return len(whoAnswers(t, s, 4)) == 1 })

	if err := first.Pause(); err != nil {
		t.Error(err)
	}
	if err := first.Continue(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := s.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
	for _, p := range s.Processes() {
		if p.Running() || !gone(p.PID()) {
			t.Errorf("%s runs after Stop", p.Name)
		}
	}
}

// WebSocket and TCP connections pass the front both ways, reach the instances in turn, and end with them.
func TestConnections(t *testing.T) {
	t.Parallel()
	parts := start(t, options(t.TempDir()))
	s := fake(t, parts, local.ServiceOptions{
		Groups: [][]string{{"api-gateway", "ws-gateway"}, {"auth", "user"}}, Instances: map[string]int{"auth": 1},
	})
	if got := s.Process("auth+-1"); got == nil || len(s.Processes()) != 3 || len(s.Of("user")) != 1 || s.Of("user")[0] != got {
		t.Fatalf("processes = %v; want auth+-1, which runs user too, and two gateways", s.Processes())
	}
	for name, hello := range map[string]string{"ws": "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "tcp": ""} {
		addr := s.TCP
		if name == "ws" {
			addr = strings.TrimPrefix(s.URL, "http://")
		}
		seen := map[string]*bufio.Reader{}
		// The front looks now and then who is ready: one that has just been started again is passed over until then.
		for deadline := time.Now().Add(20 * time.Second); len(seen) < 2 && time.Now().Before(deadline); {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			fmt.Fprint(conn, hello)
			for line := hello; line != "\r\n" && line != ""; { // as far as the answer's headers end
				if line, err = r.ReadString('\n'); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			fmt.Fprint(conn, "hi\n")
			line, err := r.ReadString('\n')
			who, rest, _ := strings.Cut(line, " ")
			if rest != "hi\n" {
				t.Fatalf("%s: read %q, %v; want the line that was sent", name, line, err)
			}
			seen[who] = r
		}
		if len(seen) != 2 {
			t.Fatalf("%s: connections reached %d instances; want 2", name, len(seen))
		}
		one := s.Of("ws-gateway")[0]
		one.Kill()
		if line, err := seen[one.Name].ReadString('\n'); err == nil {
			t.Errorf("%s: read %q from a killed instance; want an end", name, line)
		}
		if err := one.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever fails while starting is told with the log's end, and nothing is left.
func TestServiceFails(t *testing.T) {
	t.Parallel()
	parts := start(t, options(t.TempDir()))
	for range 4 { // more often than there are tenants
		s, err := parts.Start(t.Context(), local.ServiceOptions{
			Groups: [][]string{{"message"}, {"auth"}}, Env: []string{fakeVariable + "=fail message-2"},
		})
		if s != nil || err == nil {
			t.Fatalf("Start = %v, %v; want an error", s, err)
		}
		for _, want := range []string{"message-2 ended with code 3", "this is message-2"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Start: %v; want %q in it", err, want)
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "no service is left", func() bool { return !runs(t, self, "message") })
}

// runs tells whether a child of this process runs a program with an argument.
func runs(t *testing.T, program, arg string) bool {
	t.Helper()
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("no /proc to look for processes in")
	}
	var found bool
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		line, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		environ, _ := os.ReadFile("/proc/" + d.Name() + "/environ")
		found = found || string(line) == program+"\x00"+arg+"\x00" && strings.Contains(string(environ), "fail message-2")
	}
	return found
}

func TestGroups(t *testing.T) {
	t.Parallel()
	parts := start(t, options(t.TempDir()))
	for want, groups := range map[string][][]string{`no target "authh"`: {{"auth", "authh"}}, "without targets": {{}}} {
		if s, err := parts.Start(t.Context(), local.ServiceOptions{Groups: groups}); s != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Start(%v) = %v, %v; want an error with %q", groups, s, err, want)
		}
	}
}

// A process goes on in its place as another binary, from its next start on.
func TestUse(t *testing.T) {
	t.Parallel()
	parts := start(t, options(t.TempDir()))
	s := fake(t, parts, local.ServiceOptions{Groups: [][]string{{"auth"}}})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "another-version")
	if err := os.Symlink(self, other); err != nil {
		t.Fatal(err)
	}
	first, second := s.Process("auth-1"), s.Process("auth-2")
	for _, use := range []string{other, self} {
		before := first.Tail(1 << 20)
		first.Use(use)
		if got := first.Tail(1 << 20); got != before {
			t.Errorf("the process printed %q when nothing but its next binary changed", strings.TrimPrefix(got, before))
		}
		if err := first.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := "this is auth-1 of " + filepath.Base(use) + "\n"
		if got := strings.TrimPrefix(first.Tail(1<<20), before); got != want {
			t.Errorf("after Use(%s) it printed %q; want %q", use, got, want)
		}
	}
	if err := second.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := second.Tail(1 << 20); strings.Contains(log, "another-version") {
		t.Errorf("the other process printed %q; want its own binary", log)
	}
	first.Use(filepath.Join(t.TempDir(), "none"))
	if err := first.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("Restart with a binary that is not there = %v; want an error that names it", err)
	}
}
