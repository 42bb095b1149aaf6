package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Calls to the database are added up over labels that do not matter, and spread over who came.
func TestDatabaseCost(t *testing.T) {
	t.Parallel()
	count := func(pages ...string) databaseCount {
		d := databaseCount{}
		for _, p := range pages {
			d.add(p)
		}
		return d
	}
	before := count("oceanchat_presence_hellos_total 10\n", "oceanchat_store_calls_total{method=\"Heads\",result=\"ok\",store=\"reader\"} 100\n")
	after := count("oceanchat_presence_hellos_total 14\n",
		"oceanchat_store_calls_total{method=\"Heads\",result=\"ok\",store=\"reader\"} 106\n"+
			"oceanchat_store_calls_total{method=\"Heads\",result=\"failed\",store=\"reader\"} 2\n"+
			"oceanchat_store_calls_total{method=\"Get\",result=\"ok\",store=\"sessions\"} 2\n"+
			"oceanchat_store_seconds_count{method=\"Get\",store=\"sessions\"} 2\n")
	want := &databaseCost{Connects: 4, Calls: 2.5, By: map[string]float64{"reader.Heads": 2, "sessions.Get": 0.5}}
	got := after.since(before)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("since (-want +got):\n%s", diff)
	}
	if text := got.String(); text != "2.50 (reader.Heads 2.00, sessions.Get 0.50)" {
		t.Errorf("String() = %q", text)
	}
	for name, d := range map[string]*databaseCost{
		"a process began anew": before.since(after), "nobody came": after.since(after), "no count before": after.since(nil), "none after": databaseCount(nil).since(before),
	} {
		if d != nil || d.String() != none {
			t.Errorf("%s: %v; want nothing", name, d)
		}
	}
}
