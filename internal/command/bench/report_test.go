package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

func full() *report {
	cost := &databaseCost{By: map[string]float64{"x": 1}}
	r := &report{
		Taken: "today", Start: &startRow{}, Idle: &idleRow{}, Storm: &stormRow{Database: cost}, Stay: &stayRow{Waves: []wave{{Lost: 1, Database: cost}}, Failed: map[string]int{"x": 1}}, History: &historyRow{First: percentiles{Count: 1}}, Seeding: &seeding{},
		Cluster: &measuredCluster{Mongo: standIn},
		Messages: []messageRow{
			{Scenario: "pairs", Rate: 1000, Sync: "always", Server: &serverCost{Parts: []partCost{{Part: "mongo"}}}},
			{Scenario: "pairs", Rate: 2000, Sync: "always", Error: "lost"},
			{Scenario: "group", Rate: 5, Members: 1000},
		},
	}
	r.Search = []searchRow{{Held: 10, Tries: r.Messages[:1], Best: &r.Messages[0]}}
	r.Overload = []*overloadRow{{Phases: []phase{{Name: "before", Refused: map[string]int{"OVERLOADED": 1}, Messages: 2}}, Memory: memory{Most: 1}}}
	r.fail("2000/s", errFrame)
	r.fail("100/s", nil)
	return r
}

// Every row of a table has as many cells as its head, whatever was measured.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := full().markdown(&out); err != nil {
		t.Fatal(err)
	}
	columns, rows := 0, 0
	for line := range strings.Lines(out.String()) {
		n := strings.Count(line, "|")
		switch {
		case n == 0:
			columns = 0
		case columns == 0:
			columns = n
		case n != columns:
			t.Errorf("%d cells under a head of %d: %s", n-1, columns-1, line)
		default:
			rows++
		}
	}
	if rows == 0 {
		t.Error("no table")
	}
	if got := strings.Count(out.String(), "**FAILED**"); got != 1 {
		t.Errorf("%d rows are told as failed; want 1", got)
	}
}

// The members of --json are an interface: they are added and never renamed. OCEANCHAT_TEST_UPDATE=1 writes the list anew.
func TestJSONMembers(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := full().json(&out); err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(out.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	var paths []string
	walk("", tree, func(path string) { paths = append(paths, path) })
	slices.Sort(paths)
	got := strings.Join(slices.Compact(paths), "\n") + "\n"
	const golden = "testdata/members.txt"
	if os.Getenv("OCEANCHAT_TEST_UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("the members of --json are not those of %s (%v):\n%s", golden, err, got)
	}
}

func walk(path string, v any, found func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for name, of := range v {
			walk(path+"."+name, of, found)
		}
	case []any:
		for _, of := range v {
			walk(path+"[]", of, found)
		}
	case string:
		found(path + " string")
	case bool:
		found(path + " bool")
	case float64:
		found(path + " number")
	}
}

// What was not measured is no 0, and a run that was interrupted has no account that looks broken.
func TestNotMeasured(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		r    report
		want string // the last row of a table
	}{
		{
			"a server elsewhere",
			report{Messages: []messageRow{{
				Rate: 100, Counted: 80, Ack: percentiles{1, 1e6, 2e6, 3e6, 3e6}, Receive: percentiles{1, 1e6, 2e6, 3e6, 3e6}, Late: percentiles{1, 1e6, 2e6, 3e6, 3e6},
				Balance: balance{Sent: 100, Acked: 100, Stored: 100, Received: 100}, Held: true, Throughput: 99,
			}}},
			"| 100 | – | –; – | 1.00 / 2.00 / 3.00 | 1.00 / 2.00 / 3.00 | yes | 99 | – | – | – | 1.00 / 2.00 | – | – | – | 80 | 0, 0, 0 |",
		},
		{
			"interrupted",
			report{Messages: []messageRow{{Rate: 100, Interrupted: true, Balance: balance{Sent: 7}}}},
			"| 100 | – | –; – | – | – | – | – | – | – | – | – | – | – | – | interrupted | – |",
		},
		{
			"history that can not be read",
			report{Messages: []messageRow{{Rate: 100, Balance: balance{Sent: 7, Acked: 7, Received: 7, Unread: true}}}},
			"| 100 | – | –; – | – | – | – | – | – | – | – | – | – | – | – | **7 ≠ 7 ≠ could not be read ≠ 7** | 0, –, – |",
		},
		{"idle elsewhere", report{Idle: &idleRow{Connections: 9, Connecting: 1e9}}, "| 9 | 0 | – | – | –, – | – | 9 | – | – |"},
		{"storm that failed", report{Storm: &stormRow{Connections: 9, AtATime: 40}}, "| 9 | 40 | – | – | – | – | – | – | – |"},
		{"history elsewhere", report{History: &historyRow{Rate: 5, Again: percentiles{1, 1e6, 2e6, 3e6, 3e6}}}, "| 5 a second | 1 | 1.00 / 2.00 / 3.00 | – | – |"},
		{"no start", report{Start: &startRow{Binary: 1 << 20}}, "| disk p50 / p99, ms | – |"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if err := tt.r.markdown(&out); err != nil {
				t.Fatal(err)
			}
			var last string
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "|") {
					last = strings.TrimSpace(line)
				}
			}
			if last != tt.want {
				t.Errorf("the last row is\n%s\nwant\n%s", last, tt.want)
			}
			if legend := strings.Contains(out.String(), "held: everything balances"); legend != (len(tt.r.Messages) > 0) {
				t.Errorf("legend = %v; want it under tables of messages:\n%s", legend, out.String())
			}
		})
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 100: "100", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q; want %q", n, got, want)
		}
	}
}

// What each part takes stands in one table for all rows, and what a stand-in takes is no figure of MongoDB.
func TestShareTable(t *testing.T) {
	t.Parallel()
	cost := func(of float64) *serverCost {
		return &serverCost{DeliveryCPU: of, RSS: 3 << 20, Parts: []partCost{
			{Part: "auth", Processes: 2, DeliveryCPU: of / 4, Share: 25, RSS: 1 << 20}, {Part: "mongo", Processes: 1, DeliveryCPU: of * 3 / 4, Share: 75, RSS: 2 << 20},
		}}
	}
	r := report{
		Cluster: &measuredCluster{Mongo: standIn}, History: &historyRow{Rate: 9, StandIn: true},
		Messages: []messageRow{
			{Scenario: "pairs", Rate: 1000, Balance: balance{Deliveries: 1}, Server: cost(400)},
			{Scenario: "pairs", Rate: 2000}, // failed
			{Scenario: "group", Rate: 5, Balance: balance{Deliveries: 1}, Server: cost(80)},
		},
	}
	var out bytes.Buffer
	if err := r.markdown(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| target or part | processes | pairs, 1,000/s | group, 5/s | RSS MiB |\n",
		"| auth | 2 | 100.0 (25 %) | 20.0 (25 %) | 1.0 |\n| mongo (stand-in) | 1 | 300.0 (75 %) | 60.0 (75 %) | 2.0 |\n| **all** |  | 400.0 | 80.0 | 3.0 |\n",
		"| 9 a second, stand-in |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %s in\n%s", want, out.String())
		}
	}
}
