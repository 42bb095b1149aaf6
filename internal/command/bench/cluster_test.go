package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const described = `{
  "url": "http://h:1", "tcp": "h:2", "http": ["http://h:3", "http://h:4"], "ws": ["ws://h:5/ws", "ws://h:6/ws"], "mongo": "stand-in", "replicas": 3,
  "sync": "always", "later": {"more": 1},
  "processes": [{"name": "nats-1", "pid": 10}, {"name": "nats-2", "pid": 11}, {"name": "mongo", "pid": 12},
    {"name": "auth+-1", "targets": ["auth", "user"], "pid": 13, "ops": "h:7"}]
}`

func TestReadCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, clusterName)
	if err := os.WriteFile(file, []byte(described), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		c, err := readCluster(path)
		if err != nil {
			t.Fatalf("readCluster(%s): %v", path, err)
		}
		var parts []string
		for _, p := range c.Processes {
			parts = append(parts, p.part())
		}
		if diff := cmp.Diff([]string{"nats", "nats", "mongo", "auth+user"}, parts); diff != "" {
			t.Errorf("parts (-want +got):\n%s", diff)
		}
		if c.dir != dir || c.Sync != "always" || c.Processes[3].Ops != "h:7" {
			t.Errorf("readCluster(%s) = %+v", path, c)
		}
		if got, want := c.measured(), (&measuredCluster{4, 3, "always", standIn}); *got != *want || got.label("mongo") != "mongo (stand-in)" || got.label("auth") != "auth" {
			t.Errorf("measured() = %+v; want %+v", got, want)
		}
		d := c.doors()
		for i, want := range []string{"http://h:3 ws://h:5/ws", "http://h:4 ws://h:6/ws", "http://h:3 ws://h:5/ws"} {
			if got := d.rest(i) + " " + d.socket(i); got != want {
				t.Errorf("client %d goes to %s; want %s", i, got, want)
			}
		}
	}
}

func TestReadClusterRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new, want string }{
		{"no JSON", `"url"`, `url`, "invalid character"},
		{"no api-gateway", `["http://h:3", "http://h:4"]`, `[]`, "no api-gateway"},
		{"no ws-gateway", `["ws://h:5/ws", "ws://h:6/ws"]`, `[]`, "no ws-gateway"},
		{"an address that is none", `"http://h:3"`, `"here"`, `"here" is no URL`},
		{"a process without an id", `"pid": 12`, `"pid": 0`, `"mongo" has the id 0`},
		{"an id twice", `"pid": 12`, `"pid": 11`, `"mongo" has the id 11`},
		{"a process without a name", `"mongo", "pid"`, `"", "pid"`, `"" has the id 12`},
		{"no process", `"processes"`, `"others"`, "processes: none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "c")
			if err := os.WriteFile(file, []byte(strings.Replace(described, tt.old, tt.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readCluster(file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("readCluster: %v; want %q in it", err, tt.want)
			}
		})
	}
	if _, err := readCluster(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "while it runs") {
		t.Errorf("readCluster of no file: %v", err)
	}
}

func TestDoorsOf(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{"http://h:1": "ws://h:1/ws", "https://h/x": "wss://h/x/ws"} {
		if d := doorsOf(base); d.rest(7) != base || d.socket(7) != want {
			t.Errorf("doorsOf(%s) = %v; want %s", base, d, want)
		}
	}
}
