package bench

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/command"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{
		"--scenarios", "search pairs,idle", "--rates", "2000,5000", "--duration", "3s", "--log-sync", "always,interval", "--wire", "proto",
		"--must-hold", "--", "--log-pace", "4ms",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		scenarios: []string{"pairs", "search", "idle"}, wire: protoCodec{}, syncs: []string{"always", "interval"},
		duration: 3 * time.Second, warmup: 2 * time.Second, settle: 35 * time.Second, limit: 20 * time.Minute,
		pairCount: 50, rates: []int{2000, 5000}, groups: 1, groupSize: 1000, groupRates: []int{5}, idleConns: 2000, stormConns: 2000, overloadRate: 1000, factor: 2,
		reads: 1000, readRate: 100, p99: 50 * time.Millisecond, mustHold: true, highest: 50_000, server: []string{"--log-pace", "4ms"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("parse (-want +got):\n%s", diff)
	}
	if got.users() != 2000 {
		t.Errorf("users() = %d; want 2000", got.users())
	}
	if got, err := parse(strings.Fields("--cluster d --accounts f --scenarios storm,idle"), io.Discard); err != nil || got.own() || got.clusterFile != "d" {
		t.Errorf("parse(--cluster d) = %+v, %v; want no server of its own", got, err)
	}
	if got, err := parse(nil, io.Discard); err != nil || !got.own() || len(got.scenarios) != 5 {
		t.Errorf("parse() = %v, %v; want the five scenarios on a server of its own", got.scenarios, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, args, want string }{
		{"an unknown scenario", "--scenarios stop", `"stop" is none of`},
		{"an overload too long for the account", "--scenarios overload --overload 50000 --duration 10m", "--overload 50000"},
		{"no load", "--overload 0", "--overload 0, --factor 2"},
		{"no scenario", "--scenarios ,", "name at least one"},
		{"an unknown log.sync", "--log-sync never", "neither always nor interval"},
		{"an unknown subprotocol", "--wire xml", "neither json nor proto"},
		{"a rate that is no number", "--rates many", "--rates many: want numbers"},
		{"a rate of nothing", "--rates 0", "want numbers"},
		{"no pairs", "--pairs 0", "--pairs 0: want 1"},
		{"a group of one", "--group-size 1", "at least 1 of 2"},
		{"no idle connections", "--idle -1", "--idle -1"},
		{"no storm", "--storm 0", "--storm 0"},
		{"a run too short to mean anything", "--duration 10ms", "--duration 10ms"},
		{"more than can be accounted for", "--duration 10m --rates 100000", "make it shorter"},
		{"an unknown flag", "--speed 9", "not defined: -speed"},
		{"an address without accounts", "--addr http://h:1", "belong together"},
		{"accounts without an address", "--accounts f", "belong together"},
		{"an address that is none", "--addr h:1 --accounts f", "want http://host:port"},
		{"settings of a foreign server", "--addr http://h:1 --accounts f -- --log-pace 4ms", "--log-pace 4ms"},
		{"starts of a foreign server", "--addr http://h:1 --accounts f --scenarios start", "start needs a server"},
		{"a cluster without accounts", "--cluster d", "--cluster and --accounts belong together"},
		{"a cluster and an address", "--cluster d --addr http://h:1 --accounts f", "--addr and --cluster: want one"},
		{"settings of a cluster", "--cluster d --accounts f -- --log-pace 4ms", "without --addr and --cluster"},
		{"starts of a cluster", "--cluster d --accounts f --scenarios start,pairs", "start needs a server of bench's own"},
		{"a profile of a cluster", "--cluster d --accounts f --profile p", "--profile needs a server"},
		{"a profile of a foreign server", "--addr http://h:1 --accounts f --profile p", "--profile needs a server"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(strings.Fields(tt.args), io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parse(%q) error = %v; want %q in it", tt.args, err, tt.want)
			}
		})
	}
	var help strings.Builder
	if _, err := parse([]string{"--help"}, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-must-hold") {
		t.Errorf("parse(--help) = %v, %q; want the flags", err, help.String())
	}
}

// The search doubles, then halves the distance, and ends.
func TestSearchEnds(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 40, 300, 500, 777, 4000, 31_000, 1_000_000} {
		held, least, tries := 0, 0, 0
		for rate := searchFrom; rate > 0; rate = next(held, least, 50_000) {
			if tries++; tries > searchTries {
				t.Fatalf("limit %d: no end after %d tries", limit, tries)
			}
			if rate <= limit {
				held = max(held, rate)
			} else if least == 0 || rate < least {
				least = rate
			}
		}
		want := min(limit, 50_000)
		if want < searchFrom/8 {
			want = 0
		}
		if held > want || float64(held) < 0.9*float64(want) {
			t.Errorf("limit %d: found %d; want at most that and at least 90 %%", limit, held)
		}
	}
}

// A word that is no flag is a slip of the hand, and settings of the server stand behind --.
func TestWordTooMany(t *testing.T) {
	t.Parallel()
	var errs strings.Builder
	if got := Main(t.Context(), command.Call{Args: []string{"bogus"}, Out: io.Discard, Err: &errs}); got != command.Usage || !strings.Contains(errs.String(), `"bogus"`) {
		t.Errorf("bench bogus = %d and %q; want %d and the word", got, errs.String(), command.Usage)
	}
	for _, args := range [][]string{{"--json", "bogus"}, {"bogus", "--", "--log-pace", "4ms"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("parse(%q) = nil; want an error", args)
		}
	}
}
