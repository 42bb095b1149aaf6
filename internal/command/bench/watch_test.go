package bench

import (
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var four = watch{
	{Name: "nats-1", PID: 1},
	{Name: "nats-2", PID: 2},
	{Name: "auth-1", PID: 3, Targets: []string{"auth"}},
	{Name: "auth-2", PID: 4, Targets: []string{"auth"}},
	{Name: "redis", PID: 5},
}

// The shares are those of all instances, they add up to the whole, and a message that reaches many costs each of them less.
func TestShares(t *testing.T) {
	t.Parallel()
	from := map[int]time.Duration{1: time.Second, 2: time.Second, 3: 0, 4: 0, 5: time.Second}
	to := map[int]time.Duration{1: 2 * time.Second, 2: 2 * time.Second, 3: time.Second, 4: 2 * time.Second, 5: time.Second}
	held := map[int]int64{1: 10, 2: 20, 3: 30, 4: 40, 5: 50}
	c := serverCost{CPU: perUnit(sum(to)-sum(from), 1000), Parts: four.shares(from, to, held, 1000)}
	c.perDelivery(balance{Sent: 1000, Deliveries: 4000})
	want := serverCost{CPU: 5000, DeliveryCPU: 1250, Parts: []partCost{
		{Part: "nats", Processes: 2, CPU: 2000, DeliveryCPU: 500, Share: 40, RSS: 30},
		{Part: "auth", Processes: 2, CPU: 3000, DeliveryCPU: 750, Share: 60, RSS: 70},
		{Part: "redis", Processes: 1, RSS: 50},
	}}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("cost (-want +got):\n%s", diff)
	}
	for _, p := range four.shares(from, from, held, 0) {
		if p.Share != 0 || p.CPU != 0 {
			t.Errorf("shares of nothing = %+v; want none", p)
		}
	}
	c = serverCost{CPU: 5}
	if c.perDelivery(balance{Sent: 1}); c.DeliveryCPU != 0 {
		t.Errorf("cost of a delivery that was none = %v", c.DeliveryCPU)
	}
}

// The stand-in for MongoDB, and whoever else starts others, counts with them, also with those that have ended.
func TestTree(t *testing.T) {
	t.Parallel()
	all := map[int]running{}
	for pid, stat := range map[int]string{
		1: "1 (init) S 0 2 3 4 5 6 7 8 9 10 1 1 1 1 20", 7: "7 (a) (b) S 1 2 3 4 5 6 7 8 9 10 100 50 30 20 20",
		8: "8 (java) S 7 2 3 4 5 6 7 8 9 10 200 100 0 0 20", 9: "9 (sh) S 8 2 3 4 5 6 7 8 9 10 1 0 0 0 20",
	} {
		var err error
		if all[pid], err = parseRunning(stat); err != nil {
			t.Fatal(err)
		}
	}
	found := tree(all, 7)
	if slices.Sort(found); !slices.Equal(found, []int{7, 8, 9}) {
		t.Errorf("tree = %v; want 7 to 9", found)
	}
	if got, is := treeCPU(all, 7); !is || got != 5010*time.Millisecond {
		t.Errorf("CPU of the tree = %v, %t; want 5.01s", got, is)
	}
	if got, is := treeCPU(all, 77); is || got != 0 {
		t.Errorf("CPU of nobody = %v, %t", got, is)
	}
	for _, bad := range []string{"", "7 (a) S x 2 3 4 5 6 7 8 9 10 100 50 30 20 20", "7 (a) S 1 2 3 4 5 6 7 8 9 10 100 50 30"} {
		if _, err := parseRunning(bad); err == nil {
			t.Errorf("parseRunning(%q): no error", bad)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" { // elsewhere bench shows no CPU of processes, as its guide says
		t.Skip("only Linux has /proc")
	}
	var paths []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.String())
		if r.URL.Path == "/metrics" {
			_, _ = w.Write([]byte(connected + " 2\n"))
		}
	}))
	t.Cleanup(s.Close)
	w := watch{
		{Name: "nats-1", PID: os.Getpid()},
		{Name: "ws-gateway-1", PID: os.Getppid(), Targets: []string{"ws-gateway"}, Ops: strings.TrimPrefix(s.URL, "http://")},
	}
	w = append(w, process{Name: "ws-gateway-2", PID: w[1].PID, Ops: w[1].Ops})
	m, err := w.settledMetrics()
	if err != nil || m[connected] != 4 {
		t.Errorf("metrics = %v, %v; want 4 connections", m, err)
	}
	if want := []string{"/debug/pprof/heap?gc=1", "/debug/pprof/heap?gc=1", "/metrics", "/metrics"}; !slices.Equal(paths, want) {
		t.Errorf("asked for %v; want %v", paths, want)
	}
	if rss, err := w.rss(); err != nil || rss < 1<<20 {
		t.Errorf("rss = %d, %v; want some", rss, err)
	}
	used, err := w.each()
	if _, is := used[os.Getpid()]; err != nil || !is {
		t.Errorf("each = %v, %v; want this process's", used, err)
	}
	w = append(w, process{Name: "auth-1", PID: 1 << 30})
	if _, err := w.cpu(); err == nil || !strings.Contains(err.Error(), "auth-1") {
		t.Errorf("cpu with one that is gone: %v; want its name", err)
	}
	s.Close()
	if _, err := w.metrics(); err == nil || !strings.Contains(err.Error(), "ws-gateway-1") {
		t.Errorf("metrics of one that does not answer: %v; want its name", err)
	}
}
