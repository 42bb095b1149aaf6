package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
)

// series returns the value of one series as /metrics shows it, -1 if it does not.
func (s *server) series(name string) float64 {
	s.t.Helper()
	for line := range strings.Lines(s.page("/metrics")) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err != nil {
				s.t.Fatalf("metric line %q: %v", line, err)
			}
			return v
		}
	}
	return -1
}

// The metrics of each stage move with one message: calls, log, readers and their lag, queues, delivery.
func TestMetricsOfOneMessage(t *testing.T) {
	s := start(t, "--persistence-linger", "1s")
	ann, bob := s.user("ann"), s.user("bob")
	b := connect(t, bob)
	sendAndReceive := func(id string) {
		t.Helper()
		if err := send(t.Context(), ann, bob.ID, id, "hi"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.NextEntry(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	const (
		storing    = `oceanchat_log_reader_lag_batches{partition="0",reader="persistence"}`
		storingAge = `oceanchat_log_reader_lag_seconds{partition="0",reader="persistence"}`
		delivering = `oceanchat_log_reader_lag_batches{partition="0",reader="orchestrator"}`
	)
	sendAndReceive("first")
	eventually(t, "the writer lags behind and catches up", func() bool {
		sendAndReceive(fmt.Sprint("m", time.Now().UnixNano())) // one right after another waits for the writer's linger
		return s.series(storing) > 0 && s.series(storingAge) > 0
	})
	eventually(t, "no lag", func() bool { return s.series(storing) == 0 && s.series(storingAge) == 0 && s.series(delivering) == 0 })
	sent := s.series(`oceanchat_calls_total{method="MessageService/Send",reason="OK",service="message"}`)
	if sent < 2 {
		t.Errorf("calls of Send = %g; want at least 2", sent)
	}
	for name, want := range map[string]float64{
		`oceanchat_log_appends_total{reason="OK"}`:           sent,
		`oceanchat_log_appends_total{reason="LOG_FULL"}`:     0,
		`oceanchat_log_append_seconds_count`:                 sent,
		`oceanchat_log_publishes_total{outcome="committed"}`: sent,
		`oceanchat_log_batch_entries_sum`:                    sent,
		`oceanchat_log_waiting_appends{partition="0"}`:       0,
		`oceanchat_log_position{partition="0"}`:              sent,
		`oceanchat_log_alarms_total{kind="log_full"}`:        0,
		`oceanchat_ws_gateway_delivery_seconds_count`:        sent,
		`oceanchat_queue_tasks{queue="push-online"}`:         0,
		`oceanchat_queue_tasks{queue="push-offline"}`:        0,
		`oceanchat_queue_tasks{queue="dead"}`:                0,
		`oceanchat_calls_in_flight{service="message"}`:       0,
		`oceanchat_router_circuit_open{service="message"}`:   0,
		`oceanchat_ready`: 1,
	} {
		eventually(t, fmt.Sprintf("%s = %g", name, want), func() bool { return s.series(name) == want })
	}
	// Bad input is counted by its reason and alarms nobody.
	err := ann.Do(t.Context(), "POST", "/messages", client.Object{"clientMsgId": "m1", "toUserId": bob.ID}, nil)
	if client.ReasonOf(err) != "INVALID_FIELD" {
		t.Errorf("a send without text = %v; want INVALID_FIELD", err)
	}
	if got := s.series(`oceanchat_calls_total{method="MessageService/Send",reason="INVALID_FIELD",service="message"}`); got != 1 {
		t.Errorf("calls of Send with INVALID_FIELD = %g; want 1", got)
	}
}
