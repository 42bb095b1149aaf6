package nats_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/callstest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/nats"
)

// server counts what it is asked, and answers.
type server struct {
	presencev1.UnimplementedPresenceInternalServiceServer
	asked atomic.Int64
	err   error
}

func (s *server) Lookup(context.Context, *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	s.asked.Add(1)
	return &presencev1.LookupResponse{}, s.err
}

func lookup(ctx context.Context, n calls.Network) error {
	_, err := presencev1.NewPresenceInternalServiceClient(n).Lookup(ctx, &presencev1.LookupRequest{UserIds: []string{"u1", "u2"}})
	return err
}

// Calls of a shard go to who serves it, and when that one stops or dies to the others.
func TestShardOwner(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	caller, _ := connect(t, srv, nats.Config{})
	var servers [3]server
	var stops [3]func()
	for i := range servers {
		n, _ := connect(t, srv, nats.Config{})
		presencev1.RegisterPresenceInternalServiceServer(n, &servers[i])
		stops[i] = func() {}
		if i < 2 {
			stops[i] = n.ServeShard("presence", "7")
		}
	}
	ctx := calls.WithShard(t.Context(), "7")
	call := func(want ...int) {
		t.Helper()
		var before [3]int64
		for i := range servers {
			before[i] = servers[i].asked.Load()
		}
		for range 60 {
			if err := lookup(ctx, caller); err != nil {
				t.Fatalf("Lookup = %v; want no error", err)
			}
		}
		for i := range servers {
			asked, may := servers[i].asked.Load() > before[i], false
			for _, w := range want {
				may = may || w == i
			}
			if asked != may {
				t.Errorf("instance %d was asked: %t; want %t", i, asked, may)
			}
		}
	}
	call(0, 1)
	stops[0]()
	call(1)
	stops[1]()
	call(0, 1, 2)
}

// What does not leave is OVERLOADED at once, not a wait for the deadline.
func TestCallerIsCutOff(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	caller, conn := connect(t, srv, nats.Config{})
	n, _ := connect(t, srv, nats.Config{})
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	if err := lookup(t.Context(), caller); err != nil {
		t.Fatalf("Lookup = %v; want no error", err)
	}
	conn.Close()
	if err := lookup(t.Context(), caller); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Lookup without a connection = %v; want %s", err, fault.Overloaded)
	}
	if err := lookup(t.Context(), n); err != nil {
		t.Errorf("Lookup by another = %v; want no error", err)
	}
}

// A Network that drains makes calls, but serves none.
func TestDrained(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	caller, _ := connect(t, srv, nats.Config{})
	n, _ := connect(t, srv, nats.Config{})
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	n.Drain(t.Context())
	n.Drain(t.Context()) // twice is no harm
	stop := n.ServeGateway("g1", func(grpc.ServiceRegistrar) {})
	defer stop()
	if err := lookup(t.Context(), caller); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Lookup at who drained = %v; want %s", err, fault.Overloaded)
	}
	presencev1.RegisterPresenceInternalServiceServer(caller, &server{})
	if err := lookup(t.Context(), n); err != nil {
		t.Errorf("Lookup by who drained = %v; want no error", err)
	}
}

// A process that starts is called once it is ready, but its gateway and shards are there before.
func TestHeld(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	caller, _ := connect(t, srv, nats.Config{})
	n, _ := connect(t, srv, nats.Config{Held: true})
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	defer n.ServeShard("presence", "7")()
	if err := lookup(t.Context(), caller); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Lookup while the service is held = %v; want %s", err, fault.Overloaded)
	}
	if err := lookup(calls.WithShard(t.Context(), "7"), caller); err != nil {
		t.Errorf("Lookup of a shard while the service is held = %v; want no error", err)
	}
	n.Open()
	n.Open()
	if err := lookup(t.Context(), caller); err != nil {
		t.Errorf("Lookup after Open = %v; want no error", err)
	}
}

func TestServeGatewayTwice(t *testing.T) {
	t.Parallel()
	n, _ := connect(t, startServer(t), nats.Config{})
	defer n.ServeGateway("g1", func(grpc.ServiceRegistrar) {})()
	defer func() {
		if recover() == nil {
			t.Error("ServeGateway of an id that is served did not panic; want a panic")
		}
	}()
	n.ServeGateway("g1", func(grpc.ServiceRegistrar) {})
}

// fixed is a backbone that answers every request alike.
type fixed struct {
	answer backbone.Envelope
	err    error
	got    *backbone.Envelope
}

func (f fixed) Request(_ context.Context, _ string, r backbone.Envelope) (backbone.Envelope, error) {
	*f.got = r
	return f.answer, f.err
}

func (fixed) Respond(backbone.Responder) (func(context.Context), error) {
	return nil, errors.New("no connection")
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer backbone.Envelope
		err    error
		want   fault.Reason
	}{
		{"nobody", backbone.Envelope{}, backbone.ErrNoResponders, fault.Overloaded},
		{"busy", backbone.Envelope{}, backbone.ErrBusy, fault.Overloaded},
		{"not sent", backbone.Envelope{}, backbone.ErrRefused, fault.Overloaded},
		{"answer too large for the server", backbone.Envelope{}, backbone.ErrTooLarge, fault.InternalReason},
		{"silence", backbone.Envelope{}, backbone.ErrSilent, fault.OutcomeUnknown},
		{"time-out", backbone.Envelope{}, context.DeadlineExceeded, fault.OutcomeUnknown},
		{"anything else", backbone.Envelope{}, errors.New("broken pipe"), fault.OutcomeUnknown},
		{"not an answer", backbone.Envelope{Data: []byte{0xff}}, nil, fault.InternalReason},
		{"not a fault", backbone.Envelope{Header: backbone.Header{"oc-fault": {"1"}}}, nil, fault.InternalReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got backbone.Envelope
			err := lookup(t.Context(), nats.New(nats.Config{}, fixed{tt.answer, tt.err, &got}, slog.New(slog.DiscardHandler)))
			if f, ok := err.(*fault.Error); !ok || f.Reason != tt.want { //nolint:errorlint // the seam promises this very type
				t.Errorf("Lookup = %T %v; want a fault %s", err, err, tt.want)
			}
			if got.Header.Get("oc-timeout") == "" {
				t.Errorf("a call without a deadline went out with the header %v; want oc-timeout in it", got.Header)
			}
		})
	}
}

// hung is a backbone whose responders take every request and say nothing.
type hung struct {
	fixed
	asked []string
}

func (h *hung) Request(_ context.Context, subject string, _ backbone.Envelope) (backbone.Envelope, error) {
	h.asked = append(h.asked, subject)
	return backbone.Envelope{}, backbone.ErrSilent
}

// Any instance is asked again what the owner of a shard does not answer, if it is a read, and if repeats are few.
func TestRepeats(t *testing.T) {
	t.Parallel()
	h := new(hung)
	n := nats.New(nats.Config{}, h, slog.New(slog.DiscardHandler))
	ctx := calls.WithShard(t.Context(), "7")
	owner, any := nats.ShardSubject("presence", "7"), nats.CallSubject("presence")
	_, err := presencev1.NewPresenceInternalServiceClient(n).Hello(ctx, &presencev1.HelloRequest{})
	if diff := cmp.Diff([]string{owner}, h.asked); !fault.IsReason(err, fault.OutcomeUnknown) || diff != "" {
		t.Errorf("Hello = %v; want %s, and to have asked (-want +got):\n%s", err, fault.OutcomeUnknown, diff)
	}
	h.asked = nil
	err = lookup(ctx, n)
	if diff := cmp.Diff([]string{owner, any, any}, h.asked); !fault.IsReason(err, fault.OutcomeUnknown) || diff != "" {
		t.Errorf("Lookup = %v; want %s, and to have asked (-want +got):\n%s", err, fault.OutcomeUnknown, diff)
	}
	h.asked = nil
	const made = 100
	for range made {
		_ = lookup(ctx, n)
	}
	if got := len(h.asked); got <= made || got > made+50 {
		t.Errorf("%d calls asked %d times; want some repeats, and at most 50", made, got)
	}
}

// What cannot be served is in the log: registering has no error.
func TestServiceIsNotServed(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	n := nats.New(nats.Config{}, fixed{}, slog.New(slog.NewTextHandler(&log, nil)))
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	n.ServeGateway("no.such>id", func(grpc.ServiceRegistrar) {})()
	for _, want := range []string{"oc.call.presence", "no connection", "oc.gateway.no.such>id", "wildcard"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log = %s; want %q in it", log.String(), want)
		}
	}
}

// Requests that no caller of ours wrote are answered, and change nothing (invariant 8).
func TestStrangeRequests(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	n, _ := connect(t, srv, nats.Config{})
	s := &server{}
	presencev1.RegisterPresenceInternalServiceServer(n, s)
	_, conn := connect(t, srv, nats.Config{})
	for name, header := range map[string]map[string][]string{
		"no header":    nil,
		"no method":    {"oc-identity": {"a/b/c/0/d"}},
		"bad identity": {"oc-method": {presencev1.PresenceInternalService_Lookup_FullMethodName}, "oc-identity": {"root"}},
		"bad time-out": {"oc-method": {"x"}, "oc-timeout": {"99999999999999999999"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		a, err := conn.RequestMsgWithContext(ctx, message(nats.CallSubject("presence"), header, []byte{0xff}))
		cancel()
		if err != nil || a.Header["oc-fault"] == nil || s.asked.Load() != 0 {
			t.Errorf("%s: answered %v, %v, and served %d; want a fault", name, a, err, s.asked.Load())
		}
	}
	ok := map[string][]string{"oc-method": {presencev1.PresenceInternalService_Lookup_FullMethodName}}
	a, err := conn.RequestMsgWithContext(t.Context(), message(nats.CallSubject("presence"), ok, []byte{0xff}))
	if err != nil || !bytes.Contains(a.Data, []byte(fault.Malformed)) || s.asked.Load() != 0 {
		t.Errorf("a body that is no message: answered %v, %v; want %s", a, err, fault.Malformed)
	}
}

func BenchmarkCall(b *testing.B) {
	callstest.Benchmark(b, func(b *testing.B, register func(calls.Host)) calls.Network {
		srv := startServer(b)
		caller, _ := connect(b, srv, nats.Config{})
		host, _ := connect(b, srv, nats.Config{})
		register(host)
		return caller
	})
}
