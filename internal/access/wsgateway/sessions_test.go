package wsgateway_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Invariant 5: a session that ends is closed at once by the signal, and within the sweep when the signal is lost.
func TestSessionEnds(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.SweepEvery = 100 * time.Millisecond })
	told, _ := w.connect("u1", true)
	swept, _ := w.connect("u2", true)
	lost, _ := w.connect("u3", true)
	stays, _ := w.connect("u4", true)
	w.signals.publish("oc.session.ended", &flowv1.SessionEnded{SessionIds: []string{"s-u1", "s-unknown"}})
	told.wantClose(4002)
	w.sessions.set("s-u2", faststate.Denied)
	swept.wantClose(4002)
	w.sessions.set("s-u4", faststate.Unknown)
	w.auth.end("s-u3")
	w.sessions.set("s-u3", faststate.Unknown)
	lost.wantClose(4002)
	stays.request(1, "ping", `{}`)
	if m := stays.read(); string(m.ID) != "1" {
		t.Errorf("the open session got %s; want its answer", m.raw)
	}
}

// Invariant 5: the allow-list may lose that a session ended, when one of its replicas takes over. Within ten rounds of the
// sweep auth is asked about every session all the same; while it does not answer nothing changes.
func TestSessionEndsOffTheList(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.SweepEvery = 64 * time.Millisecond })
	over, _ := w.connect("u1", true)
	stays, _ := w.connect("u2", true)
	w.auth.fail(errors.New("no route to host"))
	w.auth.end("s-u1")
	before := w.auth.askedFor("s-u1")
	eventually(t, "auth was asked in vain", func() bool { return w.auth.askedFor("s-u1") > before+2 })
	for i, c := range []*client{over, stays} {
		c.request(i+1, "ping", `{}`)
		if m := c.read(); string(m.ID) != fmt.Sprint(i+1) {
			t.Errorf("while auth does not answer the client got %s; want its answer", m.raw)
		}
	}
	w.auth.fail(nil)
	over.wantClose(4002)
	before = w.auth.askedFor("s-u2")
	eventually(t, "auth was asked again", func() bool { return w.auth.askedFor("s-u2") > before+1 })
	stays.request(3, "ping", `{}`)
	if m := stays.read(); string(m.ID) != "3" {
		t.Errorf("the open session got %s; want its answer", m.raw)
	}
}

// A request that is at work when its session ends is answered before the connection is closed, as a log-out is; those
// behind it are not begun, and nothing is pushed any more.
func TestSessionEndsWithRequests(t *testing.T) {
	tests := []struct {
		name    string
		answers bool
		limit   time.Duration
	}{{"in time", true, 2 * patience}, {"too late", false, 50 * time.Millisecond}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, func(c *wsgateway.Config) { c.LastAnswers = tt.limit })
			open := w.router.gate("slow.one")
			c, id := w.connect("u1", true)
			c.request(1, "slow.one", `{}`)
			c.request(2, "slow.two", `{}`)
			c.request(3, "ping", `{}`)
			if m := c.read(); string(m.ID) != "3" { // so both stand before it
				t.Fatalf("got %s; want the answer to ping", m.raw)
			}
			eventually(t, "the request is at work", func() bool { return len(w.router.requests()) == 1 })
			w.signals.publish("oc.session.ended", &flowv1.SessionEnded{SessionIds: []string{"s-u1"}})
			if missed := w.deliver(1, 1, id); len(missed) != 1 {
				t.Errorf("unreached after the session ended = %v; want the connection", missed)
			}
			if tt.answers {
				open()
				if m := c.read(); string(m.ID) != "1" || m.Error != nil {
					t.Errorf("got %s; want the answer to 1", m.raw)
				}
			}
			c.wantClose(4002)
			open()
			if seen := w.router.requests(); len(seen) != 1 {
				t.Errorf("router got %d requests; want only the one that was at work", len(seen))
			}
		})
	}
}

// A session that ends while connect is at work has its error answered, as if it had ended before; a connect that hangs is
// not waited for.
func TestSessionEndsWhileConnecting(t *testing.T) {
	tests := []struct {
		name    string
		answers bool
		limit   time.Duration
		code    int
	}{{"in time", true, 2 * patience, 4001}, {"too late", false, 50 * time.Millisecond, 4002}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, func(c *wsgateway.Config) { c.LastAnswers = tt.limit })
			syncing, goOn := make(chan struct{}), make(chan struct{})
			w.query.sync = func(context.Context, *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
				close(syncing)
				<-goOn
				return &queryv1.SyncResponse{SyncToken: "t"}, nil
			}
			defer close(goOn)
			c := w.dial()
			c.request(7, "connect", connectParams("u1", "s-u1", "d1", true))
			<-syncing
			w.signals.publish("oc.session.ended", &flowv1.SessionEnded{SessionIds: []string{"s-u1"}})
			if tt.answers {
				goOn <- struct{}{}
				if m := c.read(); string(m.ID) != "7" || m.Error == nil || m.Error.Data.Reason != "SESSION_ENDED" {
					t.Errorf("connect answered %s; want SESSION_ENDED", m.raw)
				}
			}
			c.wantClose(tt.code)
		})
	}
}

// What keeps invariant 5 from being checked can be alarmed on, from zero on.
func TestFailuresAreCounted(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.SweepEvery = 100 * time.Millisecond })
	failures := func() float64 {
		t.Helper()
		families, err := w.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "oceanchat_ws_gateway_failures_total" && m.GetLabel()[0].GetValue() == "sessions" {
					return m.GetCounter().GetValue()
				}
			}
		}
		t.Fatal("failures_total has no sessions; want it from the start")
		return 0
	}
	w.connect("u1", true)
	if got := failures(); got != 0 {
		t.Errorf("failures before any = %v; want 0", got)
	}
	w.sessions.mu.Lock()
	w.sessions.err = errors.New("no route to host")
	w.sessions.mu.Unlock()
	eventually(t, "the failed check is counted", func() bool { return failures() > 0 })
}
