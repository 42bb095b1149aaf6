package auth_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// startNATS runs an embedded server until the test ends.
func startNATS(t *testing.T) *embedded.Server {
	t.Helper()
	srv, err := embedded.New(embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval, LogMaxBytes: 1 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- srv.Run(ctx, sync.OnceFunc(func() { close(ready) })) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("NATS ended with %v; want nil", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("NATS did not start: %v", err)
	}
	return srv
}

// heard is what arrived, under its own lock.
type heard struct {
	mu    sync.Mutex
	items []string
}

func (h *heard) add(items ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.items = append(h.items, items...)
}

func (h *heard) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.items...)
}

// AUTH-4 over real JetStream: the events are on their subjects, and gateways hear of the session that ended.
func TestEventsOverNATS(t *testing.T) {
	srv := startNATS(t)
	w := newWorld(t)
	w.backbone = srv
	w.restart()
	var events, ended heard
	stop, err := srv.Subscribe("oc.session.ended", "", func(_ string, data []byte) {
		m := &flowv1.SessionEnded{}
		if err := proto.Unmarshal(data, m); err != nil {
			t.Errorf("signal: %v", err)
		}
		ended.add(m.GetSessionIds()...)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	stream, err := srv.Queue(t.Context(), backbone.Events)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	consumed := make(chan error, 1)
	go func() {
		consumed <- stream.Consume(ctx, backbone.Consumer{Name: "test", Handle: func(_ context.Context, task backbone.Task) backbone.Verdict {
			e := &authv1.UserEvent{}
			if err := wire.UnmarshalAnswer(task.Data, e); err != nil {
				return backbone.Park(err)
			}
			events.add(task.Topic + " " + e.GetType())
			return backbone.Done()
		}})
	}()
	defer func() {
		cancel()
		if err := <-consumed; err != nil {
			t.Errorf("Consume = %v; want nil", err)
		}
	}()
	stopService := w.run()
	defer stopService()
	w.register("ann")
	as := w.as(w.login("ann", "d1"))
	if _, err := w.pub.Logout(as, &authv1.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"user.registered registered", "user.loggedIn loggedIn", "user.loggedOut loggedOut"}
	eventually(t, "three events are there", func() bool { return len(events.list()) >= len(want) })
	if d := cmp.Diff(want, events.list()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	eventually(t, "the signal is there", func() bool { return len(ended.list()) > 0 })
	if got := ended.list()[0]; got != sessionOf(as) {
		t.Errorf("signal = %s; want %s", got, sessionOf(as))
	}
}
