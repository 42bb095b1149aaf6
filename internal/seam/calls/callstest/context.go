package callstest

import (
	"context"
	"errors"
	"testing"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// short is a deadline that tests wait for; handlers wait for it too, so its length decides nothing.
const short = 50 * time.Millisecond

func testIdentity(t *testing.T, open Open) {
	var got calls.Identity
	var client, request string
	service := serve(t, open, func(ctx context.Context, _ *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		got, client, request = calls.IdentityOf(ctx), calls.ClientOf(ctx), calls.RequestID(ctx)
		return &presencev1.HelloResponse{}, nil
	})
	tests := []struct {
		name            string
		id              calls.Identity
		client, request string
	}{
		{"all fields", calls.Identity{
			UserID: "ann", SessionID: "s1", DeviceID: "d1", Platform: authv1.Platform_PLATFORM_IOS, ConnectionID: "c1",
		}, "192.0.2.1", "r1"},
		{"no connection", calls.Identity{UserID: "ann", SessionID: "s1", DeviceID: "d1"}, "2001:db8::", "r2"},
		{"nobody", calls.Identity{}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := calls.WithClient(calls.WithRequestID(calls.WithIdentity(t.Context(), tt.id), tt.request), tt.client)
			if _, err := service.Hello(ctx, conns("a")); err != nil {
				t.Fatalf("Hello = %v; want no error", err)
			}
			if got != tt.id || client != tt.client || request != tt.request {
				t.Errorf("the handler saw %+v of %q, request %q; want %+v of %q, request %q", got, client, request, tt.id, tt.client, tt.request)
			}
		})
	}
}

type hiddenKey struct{}

func testHiddenValues(t *testing.T, open Open) {
	var got any
	client := serve(t, open, func(ctx context.Context, _ *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		got = ctx.Value(hiddenKey{})
		return &presencev1.HelloResponse{}, nil
	})
	ctx := calls.WithIdentity(context.WithValue(t.Context(), hiddenKey{}, "x"), calls.Identity{UserID: "ann"})
	if _, err := client.Hello(ctx, conns("a")); err != nil || got != nil {
		t.Errorf("the handler saw the hidden value %v, error %v; want nil, nil", got, err)
	}
}

// waitForEnd is a handler that works until its context ends.
func waitForEnd(started, ended chan struct{}) hello {
	return func(ctx context.Context, _ *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		child, cancel := context.WithTimeout(ctx, time.Minute) // as handlers do; its end must come from the caller
		defer cancel()
		close(started)
		<-child.Done()
		close(ended)
		return nil, child.Err()
	}
}

// testTrace: what is traced on one side is traced on the other, as one trace.
func testTrace(t *testing.T, open Open) {
	var parent, state string
	client := serve(t, open, func(ctx context.Context, _ *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		parent, state = obs.TraceParent(ctx)
		return &presencev1.HelloResponse{}, nil
	})
	const wantParent, wantState = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=b"
	for _, want := range [][2]string{{wantParent, wantState}, {wantParent, ""}, {"", ""}} {
		if _, err := client.Hello(obs.WithTraceParent(t.Context(), want[0], want[1]), conns("a")); err != nil {
			t.Fatalf("Hello = %v; want no error", err)
		}
		if got := [2]string{parent, state}; got != want {
			t.Errorf("the handler is in span %q; want %q", got, want)
		}
	}
}

// untilEnd is a handler that works until its context ends, called any number of times.
func untilEnd(started, ended chan struct{}) hello {
	return func(ctx context.Context, _ *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		select {
		case started <- struct{}{}:
		default:
		}
		<-ctx.Done()
		select {
		case ended <- struct{}{}:
		default:
		}
		return nil, ctx.Err()
	}
}

// testGiveUp: a handler that is not told ends by the deadline that it was. On a busy machine the deadline may pass
// before the handler is reached; then there is a longer one.
func testGiveUp(t *testing.T, open Open) {
	started, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	client := serve(t, open, untilEnd(started, ended))
	for d := 10 * short; ; d *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		go func() {
			select {
			case <-started:
				cancel()
			case <-ctx.Done():
			}
		}()
		_, err := client.Hello(ctx, conns("a"))
		if !fault.IsReason(err, fault.OutcomeUnknown) {
			t.Errorf("Hello, given up = %v; want %s", err, fault.OutcomeUnknown)
		}
		cancelled := errors.Is(ctx.Err(), context.Canceled)
		cancel()
		if cancelled {
			<-ended
			return
		}
	}
}

func testCancel(t *testing.T, open Open) {
	started, ended := make(chan struct{}), make(chan struct{})
	client := serve(t, open, waitForEnd(started, ended))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, err := client.Hello(ctx, conns("a"))
	if !fault.IsReason(err, fault.OutcomeUnknown) {
		t.Errorf("Hello, cancelled = %v; want %s", err, fault.OutcomeUnknown)
	}
	<-ended
}

func testDeadline(t *testing.T, open Open) {
	started, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	client := serve(t, open, untilEnd(started, ended))
	for d := short; ; d *= 2 { // as in testGiveUp
		ctx, cancel := context.WithTimeout(t.Context(), d)
		_, err := client.Hello(ctx, conns("a"))
		cancel()
		if f := fault.Of(err); f == nil || f.Code != fault.Unavailable || f.Reason != fault.OutcomeUnknown {
			t.Errorf("Hello past its deadline = %v; want UNAVAILABLE / %s", err, fault.OutcomeUnknown)
		}
		select {
		case <-started:
			<-ended
			return
		default:
		}
	}
}

func testEnded(t *testing.T, open Open) {
	called := false
	client := serve(t, open, func(context.Context, *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		called = true
		return &presencev1.HelloResponse{}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Hello(ctx, conns("a")); fault.CodeOf(err) != fault.Unavailable || called {
		t.Errorf("Hello with an ended context = %v, called %t; want UNAVAILABLE, false", err, called)
	}
}

// testNested: identity and deadline go on through a service that calls another with the context it was given.
func testNested(t *testing.T, open Open) {
	var inner calls.Identity
	var n calls.Network
	n = open(t, func(host calls.Host) {
		presencev1.RegisterPresenceInternalServiceServer(host, presence{
			hello: func(ctx context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("the handler has no deadline; want the caller's")
				}
				if len(r.GetConnections()) == 0 {
					inner = calls.IdentityOf(ctx)
					return nil, fault.New(fault.Muted, "from the inside")
				}
				return presencev1.NewPresenceInternalServiceClient(n).Hello(ctx, &presencev1.HelloRequest{})
			},
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	want := calls.Identity{UserID: "ann", DeviceID: "d1"}
	_, err := presencev1.NewPresenceInternalServiceClient(n).Hello(calls.WithIdentity(ctx, want), conns("a"))
	if !fault.IsReason(err, fault.Muted) || inner != want {
		t.Errorf("nested call = %v for %+v; want %s for %+v", err, inner, fault.Muted, want)
	}
}
