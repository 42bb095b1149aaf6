package local_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// A description names every address and every process, and no password.
func TestDescribe(t *testing.T) {
	t.Parallel()
	parts := start(t, options(t.TempDir()))
	s := fake(t, parts, local.ServiceOptions{
		Groups: [][]string{{"api-gateway"}, {"ws-gateway"}, {"auth", "user"}}, Instances: map[string]int{"api-gateway": 1, "auth": 1},
	})
	file := filepath.Join(t.TempDir(), "cluster.json")
	if err := s.Describe(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		URL, TCP, Mongo, Sync string
		HTTP, WS              []string
		Replicas              int
		Processes             []struct {
			Name, Ops string
			Targets   []string
			PID       int
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.URL != s.URL || got.TCP != s.TCP || got.Mongo != "real" || got.Sync != "interval" || got.Replicas != 1 {
		t.Errorf("the description is %s", text)
	}
	ws := s.Of("ws-gateway")
	if len(got.HTTP) != 1 || got.HTTP[0] != "http://"+s.Of("api-gateway")[0].HTTP || len(got.WS) != 2 || got.WS[1] != "ws://"+ws[1].WS+"/ws" {
		t.Errorf("http %v, ws %v; want those of the gateways", got.HTTP, got.WS)
	}
	var names []string
	for _, p := range got.Processes {
		names = append(names, p.Name)
		one := s.Process(p.Name)
		if one == nil {
			one = parts.Process(p.Name)
		}
		if one == nil || p.PID != one.PID() || len(p.Targets) != len(one.Targets) || len(p.Targets) > 0 && p.Ops != one.Ops {
			t.Errorf("process %+v; want what runs as %+v", p, one)
		}
	}
	if want := "nats-1 redis api-gateway-1 ws-gateway-1 ws-gateway-2 auth+-1"; strings.Join(names, " ") != want {
		t.Errorf("processes %v; want %s", names, want)
	}
	for _, setting := range s.Settings {
		if name, secret, _ := strings.Cut(setting, "="); strings.HasSuffix(name, "_PASSWORD") && strings.Contains(string(text), secret) {
			t.Errorf("the description holds %s", name)
		}
	}
	if err := s.Describe(filepath.Join(file, "below")); err == nil {
		t.Error("Describe into a place that cannot be: no error")
	}
}
