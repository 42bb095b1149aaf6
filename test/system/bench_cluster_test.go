package system

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// tinyCluster starts every target in four processes, with one copy of each stream.
func tinyCluster(t *testing.T) *local.Services {
	t.Helper()
	var inner []string
	for _, target := range local.Targets() {
		if target != "api-gateway" && target != "ws-gateway" {
			inner = append(inner, target)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := parts.Start(ctx, local.ServiceOptions{
		Groups: [][]string{{"api-gateway"}, {"ws-gateway"}, inner}, Instances: map[string]int{"api-gateway": 1, inner[0]: 1},
		Replicas: 1, Direct: true,
		Args: []string{"--log-partitions", "2", "--api-gateway-rate-limit", "0", "--router-rate-limit", "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range s.Processes() {
			if t.Failed() {
				t.Logf("%s:\n%s", p.Name, p.Tail(2000))
			}
		}
		s.Kill()
	})
	return s
}

// seedCluster runs dev seed --cluster with the settings of s, which has two partitions.
func seedCluster(t *testing.T, s *local.Services, partitions string, args ...string) (code int, stderr string) {
	t.Helper()
	args = append([]string{"dev", "seed", "--cluster"}, args...)
	cmd := exec.CommandContext(within(t, time.Minute), binary, append(args, "--", "--log-partitions="+partitions, "--auth-hash-memory=64KiB")...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OCEANCHAT_") })
	cmd.Env = append(cmd.Env, s.Settings...)
	cmd.Dir = t.TempDir()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	_ = cmd.Run() // its code tells
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) != 0 {
		t.Errorf("dev seed --cluster leaves %v (%v); want no data directory", left, err)
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

// clusterReport is what else bench says of a cluster.
type clusterReport struct {
	benchReport
	Cluster  struct{ Mongo, LogSync string }
	Messages []struct {
		Server struct {
			CPUUsPerMessage float64
			Parts           []struct {
				Part                          string
				Processes                     int
				CPUUsPerMessage, SharePercent float64
				RSSBytes                      int64
			}
		}
	}
	History struct{ StandIn bool }
}

// dev seed --cluster makes users, friends and groups beside the services that run, which go on as before; bench --cluster
// measures them through the gateways in turn, its ledger balances, and it tells what each part takes.
func TestBenchCluster(t *testing.T) {
	t.Parallel()
	s := tinyCluster(t)
	dir := t.TempDir()
	file, description := filepath.Join(dir, "accounts.jsonl"), filepath.Join(dir, "cluster.json")
	if err := s.Describe(description); err != nil {
		t.Fatal(err)
	}
	seed := []string{"--users", "12", "--friends", "2", "--groups", "1", "--group-size", "5", "--out", file}
	if code, stderr := seedCluster(t, s, "3", seed...); code != 1 || !strings.Contains(stderr, "log was made with 2 partitions") {
		t.Fatalf("dev seed with other settings than the cluster's = %d, %s; want a refusal", code, stderr)
	}
	if code, stderr := seedCluster(t, s, "2", seed...); code != 0 {
		t.Fatalf("dev seed --cluster = %d: %s", code, stderr)
	}
	wantSeeded(t, s.URL, file)

	args := []string{
		"bench", "--json", "--cluster", description, "--accounts", file, "--scenarios", "pairs,group,idle,storm,history", "--pairs", "4", "--rates", "60",
		"--group-size", "6", "--group-rates", "20", "--idle", "10", "--settle", "1s", "--storm", "12", "--reads", "20", "--duration", "2s", "--warmup", "500ms",
	}
	code, out, stderr := runBinary(t, args...)
	var r clusterReport
	if err := json.Unmarshal([]byte(out), &r.benchReport); err != nil {
		t.Fatalf("bench = %d, %v: %s", code, err, stderr)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if code != 0 || !r.OK {
		t.Fatalf("bench --cluster = %d, %q: %s", code, r.Errors, stderr)
	}
	wantBalanced(t, r.benchReport, map[string]int{"pairs": 2, "group": 6})
	if r.Idle.Lost != 0 || r.Storm.SinceBreak.Count != 12 || r.benchReport.History.Again.Count != 20 || !r.History.StandIn || r.Cluster.Mongo != "stand-in" {
		t.Errorf("idle %+v, storm %+v, history %+v, cluster %+v", r.Idle, r.Storm, r.History, r.Cluster)
	}
	wantShares(t, s, r)
	for _, p := range s.Of("ws-gateway") {
		if n := metricOf(t, "http://"+p.Ops, "oceanchat_ws_gateway_frames_out_total"); n == 0 {
			t.Errorf("%s sent nothing; want that clients take the gateways in turn", p.Name)
		}
	}

	if code, _, stderr := runBinary(t, append(args, "--scenarios", "start")...); code != 2 || !strings.Contains(stderr, "start needs a server of bench's own") {
		t.Errorf("bench --cluster --scenarios start = %d, %s; want a refusal", code, stderr)
	}
	s.Of("api-gateway")[0].Kill()
	if code, _, stderr := runBinary(t, append(args, "--scenarios", "pairs")...); code != 1 || !strings.Contains(stderr, "does not run like that any more: api-gateway-1") {
		t.Errorf("bench of a cluster with a process that is gone = %d, %s; want its name", code, stderr)
	}
}

// wantSeeded looks for what seed made, as its users see it.
func wantSeeded(t *testing.T, base, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || bytes.Count(text, []byte("\n")) != 12 {
		t.Fatalf("the accounts are %s (%v); want 12", text, err)
	}
	var first struct{ AccessToken string }
	if err := json.Unmarshal(bytes.SplitN(text, []byte("\n"), 2)[0], &first); err != nil {
		t.Fatal(err)
	}
	u := client.REST{Base: base, Token: first.AccessToken}
	var friends struct{ Friends []any }
	if err := u.Do(t.Context(), "GET", "/users/me/friends", nil, &friends); err != nil || len(friends.Friends) != 2 {
		t.Errorf("%d friends, %v; want 2", len(friends.Friends), err)
	}
	var list struct {
		Conversations []struct{ Kind, Title string }
	}
	if err := u.Do(t.Context(), "GET", "/conversations?pageSize=100", nil, &list); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range list.Conversations {
		found = found || c.Kind == "group" && c.Title == "seed group 0"
	}
	if !found {
		t.Errorf("the conversations are %v; want the seeded group among them", list.Conversations)
	}
}

// wantShares checks that every process is in one part, and that the parts are the whole.
func wantShares(t *testing.T, s *local.Services, r clusterReport) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return // nothing is read of processes
	}
	for i, m := range r.Messages {
		names, processes := []string{}, 0
		var cpu, share float64
		for _, p := range m.Server.Parts {
			names = append(names, p.Part)
			processes += p.Processes
			cpu += p.CPUUsPerMessage
			share += p.SharePercent
			if p.RSSBytes <= 0 {
				t.Errorf("row %d: %s holds no memory", i, p.Part)
			}
		}
		for _, want := range []string{"nats", "redis", "mongo", "api-gateway", "ws-gateway"} {
			if !slices.Contains(names, want) {
				t.Errorf("row %d: parts %v; want %s among them", i, names, want)
			}
		}
		if want := len(parts.Processes()) + len(s.Processes()); processes != want {
			t.Errorf("row %d: %d processes; want %d", i, processes, want)
		}
		if m.Server.CPUUsPerMessage <= 0 || math.Abs(cpu-m.Server.CPUUsPerMessage) > 1 || math.Abs(share-100) > 0.1 {
			t.Errorf("row %d: the parts take %.1f of %.1f, %.1f %%", i, cpu, m.Server.CPUUsPerMessage, share)
		}
	}
}
