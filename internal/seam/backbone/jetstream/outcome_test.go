package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// errUnknown stands for an outcome that matches none of the seam's errors.
var errUnknown = errors.New("unknown outcome")

func wantOutcome(t *testing.T, what string, err, want error) {
	t.Helper()
	switch {
	case want == nil && err == nil:
	case errors.Is(want, errUnknown) && err != nil && !backbone.Definite(err):
	case want != nil && errors.Is(err, want):
	default:
		t.Errorf("%s = %v; want %v", what, err, want)
	}
}

func TestOutcome(t *testing.T) {
	api := func(status int, code js.ErrorCode, text string) error {
		return fmt.Errorf("nats: %w", &js.APIError{Code: status, ErrorCode: code, Description: text})
	}
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"committed", nil, nil},
		{"wrong last sequence", api(400, 10071, "wrong last sequence: 5"), backbone.ErrConflict},
		{"wrong last sequence of replicas", api(400, 10164, "wrong last sequence"), backbone.ErrConflict},
		{"stream full", api(503, 10077, "maximum bytes exceeded"), backbone.ErrFull},
		{"too large for the store", api(503, 10077, "message too large"), backbone.ErrRefused},
		{"store closed", api(503, 10077, "store is closed"), errUnknown},
		{"account full", api(400, 10002, "resource limits exceeded for account"), backbone.ErrFull},
		{"server full", api(503, 10023, "insufficient resources"), backbone.ErrFull},
		{"memory full", api(500, 10028, ""), backbone.ErrFull},
		{"storage full", api(500, 10047, ""), backbone.ErrFull},
		{"too large for the stream", api(400, 10054, "message size exceeds maximum allowed"), backbone.ErrRefused},
		{"another stream", api(400, 10060, "expected stream does not match"), backbone.ErrRefused},
		{"other fault of the server", api(500, 10999, "oh"), errUnknown},
		{"too large for the connection", nats.ErrMaxPayload, backbone.ErrRefused},
		{"no responders", js.ErrNoStreamResponse, errUnknown},
		{"time-out of the driver", nats.ErrTimeout, errUnknown},
		{"deadline", context.DeadlineExceeded, errUnknown},
		{"cancelled", context.Canceled, errUnknown},
		{"connection closed", nats.ErrConnectionClosed, errUnknown},
		{"reconnecting", nats.ErrReconnectBufExceeded, errUnknown},
		{"not an answer", js.ErrInvalidJSAck, errUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantOutcome(t, fmt.Sprintf("outcome(%v)", tt.err), outcome(tt.err), tt.want) })
	}
}

// dial starts a server in this process and connects to it.
func dial(t *testing.T, change func(*natsserver.Options)) *nats.Conn {
	t.Helper()
	return connect(t, serve(t, change))
}

func serve(t *testing.T, change func(*natsserver.Options)) *natsserver.Server {
	t.Helper()
	o := &natsserver.Options{JetStream: true, StoreDir: t.TempDir(), DontListen: true, NoSigs: true, NoLog: true}
	if change != nil {
		change(o)
	}
	srv, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatalf("NewServer = %v", err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	return srv
}

func connect(t *testing.T, srv *natsserver.Server) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect("", append(Options(slog.New(slog.DiscardHandler)), nats.InProcessServer(srv))...)
	if err != nil {
		t.Fatalf("Connect = %v", err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func newBackbone(t *testing.T, conn *nats.Conn, cfg Config) *Backbone {
	t.Helper()
	b, err := New(conn, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	return b
}

// What a real server answers.
func TestOutcomeOfServer(t *testing.T) {
	ctx := t.Context()
	conn := dial(t, nil)
	b := newBackbone(t, conn, Config{LogMaxBytes: 1 << 20})
	l, err := b.Log(ctx, 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	data := make([]byte, 300<<10)
	for seq := range uint64(3) {
		_, err := l.Append(ctx, data, seq)
		wantOutcome(t, "Append with space", err, nil)
	}
	_, err = l.Append(ctx, data, 3)
	wantOutcome(t, "Append without space", err, backbone.ErrFull)
	_, err = l.Append(ctx, data, 1)
	wantOutcome(t, "Append elsewhere", err, backbone.ErrConflict)
	_, err = l.Append(ctx, make([]byte, 2<<20), 3)
	wantOutcome(t, "Append too much", err, backbone.ErrRefused)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = l.Append(ended, data, 3)
	wantOutcome(t, "Append with an ended context", err, errUnknown)

	if err := b.js.DeleteStream(ctx, backbone.LogStream(0)); err != nil {
		t.Fatalf("DeleteStream = %v", err)
	}
	_, err = l.Append(ctx, data, 0)
	wantOutcome(t, "Append to no stream", err, errUnknown)
	conn.Close()
	_, err = l.Append(ctx, data, 0)
	wantOutcome(t, "Append on a closed connection", err, errUnknown)
}

// A server whose storage is all taken says so with a code of its own.
func TestOutcomeOfFullServer(t *testing.T) {
	b := newBackbone(t, dial(t, func(o *natsserver.Options) { o.JetStreamMaxStore = 2 << 20 }), Config{LogMaxBytes: 2 << 20})
	l, err := b.Log(t.Context(), 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	for seq := uint64(0); err == nil && seq < 100; seq++ {
		_, err = l.Append(t.Context(), make([]byte, 100<<10), seq)
	}
	wantOutcome(t, "Append to a full server", err, backbone.ErrFull)
	if _, err := b.Log(t.Context(), 1); err == nil {
		t.Error("Log without room for it = nil; want an error")
	}
}

// A dead letter says where it comes from and why, and keeps the task's headers.
func TestDeadLetter(t *testing.T) {
	ctx := t.Context()
	b := newBackbone(t, dial(t, nil), Config{LogMaxBytes: 1 << 20, QueueMaxBytes: 1 << 20})
	q, err := b.Queue(ctx, backbone.PushOffline)
	if err != nil {
		t.Fatalf("Queue = %v", err)
	}
	if err := q.Publish(ctx, "vendor.x", "id-7", []byte("task")); err != nil {
		t.Fatalf("Publish = %v", err)
	}
	run, cancel := context.WithCancel(ctx)
	err = q.Consume(run, backbone.Consumer{
		Name:   "c",
		Handle: func(context.Context, backbone.Task) backbone.Verdict { return backbone.Park(errors.New("two\nlines")) },
		Parked: func(backbone.Task, error) { cancel() },
	})
	if err != nil {
		t.Fatalf("Consume = %v", err)
	}
	s, err := b.js.Stream(ctx, backbone.DeadStream)
	if err != nil {
		t.Fatalf("Stream = %v", err)
	}
	m, err := s.GetMsg(ctx, 1)
	if err != nil {
		t.Fatalf("GetMsg = %v", err)
	}
	got := strings.Join([]string{m.Subject, string(m.Data), m.Header.Get(headerTopic), m.Header.Get(headerError), m.Header.Get(headerID), m.Header.Get(headerTries)}, "|")
	if want := "oc.dead.push-offline.vendor.x|task|vendor.x|two lines|id-7|1"; got != want {
		t.Errorf("dead letter = %s; want %s", got, want)
	}
}

// Streams that somebody deletes are made anew: what is published from then on is handled, and buried where it must be.
func TestQueueAfterDeletion(t *testing.T) {
	ctx := t.Context()
	b := newBackbone(t, dial(t, nil), Config{LogMaxBytes: 1 << 20, QueueMaxBytes: 1 << 20})
	q, err := b.Queue(ctx, backbone.PushOnline)
	if err != nil {
		t.Fatalf("Queue = %v", err)
	}
	handled, parked, ended := make(chan string, 100), make(chan string, 100), make(chan error, 1)
	run, cancel := context.WithCancel(ctx)
	go func() {
		ended <- q.Consume(run, backbone.Consumer{
			Name: "c",
			Handle: func(_ context.Context, task backbone.Task) backbone.Verdict {
				if string(task.Data) == "bad" {
					return backbone.Park(errors.New("bad"))
				}
				handled <- string(task.Data)
				return backbone.Done()
			},
			Parked: func(task backbone.Task, _ error) { parked <- string(task.Data) },
		})
	}()
	publish := func(data string) {
		t.Helper()
		for {
			err := q.Publish(ctx, "g1", "", []byte(data))
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("Publish = %v", err)
			}
		}
	}
	publish("before")
	<-handled
	for _, stream := range []string{backbone.PushOnline.Stream(), backbone.DeadStream} {
		if err := b.js.DeleteStream(ctx, stream); err != nil {
			t.Fatalf("DeleteStream = %v", err)
		}
	}
	publish("after")
	if got := <-handled; got != "after" {
		t.Errorf("handled %q; want what was published after the deletion", got)
	}
	publish("bad")
	if got := <-parked; got != "bad" {
		t.Errorf("parked %q; want the bad one", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Consume = %v; want nil", err)
	}
}
