package trace_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/command/trace"
	"github.com/oceanchat/oceanchat/internal/journey"
)

var id = string(chat.NewMessageID(42, 7))

// ops is an operations port of a process that remembers events.
func ops(t *testing.T, events ...journey.Event) string {
	t.Helper()
	rec := journey.New(journey.Config{Events: 1 << 16}, "oc-1")
	for _, e := range events {
		rec.Record(e)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /trace/{messageId}", journey.NewDesk(rec, nil, slog.New(slog.DiscardHandler)))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

func run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = trace.Main(t.Context(), command.Call{Args: args, Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func journeyOf() []journey.Event {
	t0 := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	return []journey.Event{
		{When: at(0), Message: id, Stage: journey.Accepted, User: "ann", Detail: "req-1"},
		{When: at(1), Message: id, Stage: journey.Committed, User: "ann", Detail: "g~g1"},
		{When: at(2), Message: id, Stage: journey.Routed, User: "bob", Device: "phone", Via: "gw1", Connection: "c1"},
		{When: at(2), Message: id, Stage: journey.Offline, User: "cat"},
		{When: at(3), Message: id, Stage: journey.Handed, Via: "gw1", Count: 1},
		{When: at(4), Message: id, Stage: journey.Pushed, User: "bob", Device: "phone", Via: "gw1", Connection: "c1"},
		{When: at(5), Message: id, Stage: journey.Ringing, User: "cat", Device: "pad", Via: "apns"},
		{When: at(30), Message: id, Stage: journey.Stored},
		{When: at(65), Message: id, Stage: journey.Acknowledged, User: "bob", Device: "phone", Via: "gw1", Connection: "c1"},
		{When: at(250), Message: id, Stage: journey.Answered, User: "cat", Device: "pad", Via: "apns", Detail: "accepted"},
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	code, out, errs := run(t, id, "--ops", ops(t, journeyOf()...))
	if code != command.OK || errs != "" {
		t.Fatalf("trace = %d, %q; want 0", code, errs)
	}
	for _, want := range []string{
		"Message " + id + "\n",
		"  conversation  g~g1\n", "  sender        ann\n", "  request       req-1\n",
		"  accepted      2026-11-01 12:00:00.000000 UTC  (oc-1)\n", "  committed     +1.00 ms  (oc-1)\n", "  stored        +30.00 ms  (oc-1)\n",
		"routed +2.00 ms → pushed +4.00 ms → acknowledged +65.00 ms", "connection c1 of gw1",
		"cat  ", "offline +2.00 ms", "cat / pad  ", "ringing apns +5.00 ms → answered apns (accepted) +250 ms",
		"via gw1  ", "handed ×1 +3.00 ms",
		"oc-1 remembers what happened since ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q", want)
		}
	}
	if strings.Contains(out, "Not known") || t.Failed() {
		t.Errorf("the table is\n%s", out)
	}
}

// What the beginning of a journey was forgotten of is said.
func TestTraceForgotten(t *testing.T) {
	t.Parallel()
	code, out, _ := run(t, "--ops", ops(t, journeyOf()[5:]...), id)
	if code != command.OK || !strings.Contains(out, "Not known: accepted, committed. ") || !strings.Contains(out, "pushed 2026-11-01 12:00:00.004000 UTC → acknowledged +61.00 ms") {
		t.Errorf("trace = %d,\n%s\nwant the missing stages named", code, out)
	}
}

func TestTraceJSON(t *testing.T) {
	t.Parallel()
	code, out, _ := run(t, "--json", "--ops", ops(t, journeyOf()...), id)
	var r journey.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != command.OK || r.MessageID != id || len(r.Steps) != 10 {
		t.Errorf("trace --json = %d, %v, %+v; want 0 and ten steps", code, err, r)
	}
}

func TestTraceFails(t *testing.T) {
	t.Parallel()
	old := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(old.Close)
	off := http.NewServeMux()
	off.Handle("GET /trace/{messageId}", journey.NewDesk(nil, nil, slog.New(slog.DiscardHandler)))
	nobody := httptest.NewServer(off)
	t.Cleanup(nobody.Close)
	other := string(chat.NewMessageID(43, 7))
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown", []string{other, "--ops", ops(t, journeyOf()...)}, command.Failed, "Nobody knows message " + other},
		{"off", []string{other, "--ops", nobody.URL}, command.Failed, "journey.events is 0"},
		{"no server", []string{other, "--ops", "http://127.0.0.1:1"}, command.Failed, "ask the operations port"},
		{"another server", []string{other, "--ops", old.URL}, command.Failed, "404"},
		{"no id", nil, command.Usage, "want one message's id"},
		{"two ids", []string{id, other}, command.Usage, "want one message's id"},
		{"malformed", []string{"hello"}, command.Usage, `"hello" is no message's id`},
		{"malformed with a path", []string{"../metrics"}, command.Usage, "no message's id"},
		{"bad URL", []string{id, "--ops", "localhost:9090"}, command.Usage, "--ops"},
		{"bad flag", []string{id, "--nope"}, command.Usage, "nope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if code, _, errs := run(t, tt.args...); code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("trace %q = %d, %q; want %d and %q", tt.args, code, errs, tt.code, tt.want)
			}
		})
	}
	if code, out, _ := run(t, "--help"); code != command.OK || !strings.Contains(out, "Usage: oceanchat trace") {
		t.Errorf("trace --help = %d, %q; want 0 and the usage", code, out)
	}
}
