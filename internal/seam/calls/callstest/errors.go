package callstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

func testAnswer(t *testing.T, open Open) {
	client := serve(t, open, echo)
	got, err := client.Hello(t.Context(), conns("a", "b"))
	if err != nil || len(got.GetDisplaced()) != 2 || got.GetDisplaced()[1].GetConnectionId() != "b" {
		t.Errorf("Hello(a, b) = %v, %v; want a and b", got, err)
	}
}

// fail returns a client whose every call fails with err.
func fail(t *testing.T, open Open, err error) presencev1.PresenceInternalServiceClient {
	t.Helper()
	return serve(t, open, func(context.Context, *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		return nil, err
	})
}

var errCause = errors.New("password=hunter2")

func testFaults(t *testing.T, open Open) {
	tests := []struct {
		name string
		err  error
		want fault.Error
	}{
		{
			"every field",
			&fault.Error{
				Code: fault.Invalid, Reason: fault.InvalidFieldReason, Msg: "two fields",
				Fields: []fault.Field{{Field: "a.b", Rule: "at most 5"}, {Field: "c", Rule: "not empty"}}, RetryAfter: 1500 * time.Millisecond,
			},
			fault.Error{
				Code: fault.Invalid, Reason: fault.InvalidFieldReason, Msg: "two fields",
				Fields: []fault.Field{{Field: "a.b", Rule: "at most 5"}, {Field: "c", Rule: "not empty"}}, RetryAfter: 1500 * time.Millisecond,
			},
		},
		{
			"wrapped in words", fmt.Errorf("send: %w", fault.New(fault.Muted, "muted")),
			fault.Error{Code: fault.PermissionDenied, Reason: fault.Muted, Msg: "muted"},
		},
		{
			"without its cause", fault.Wrap(errCause, fault.LogFull, "the log is full"),
			fault.Error{Code: fault.Unavailable, Reason: fault.LogFull, Msg: "the log is full"},
		},
		{
			"a reason of a newer version", &fault.Error{Code: fault.NotFound, Reason: "NEW_REASON", Msg: "x"},
			fault.Error{Code: fault.NotFound, Reason: "NEW_REASON", Msg: "x"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := fail(t, open, tt.err).Hello(t.Context(), conns("a"))
			got, ok := err.(*fault.Error) //nolint:errorlint // the seam promises this very type
			if !ok {
				t.Fatalf("Hello = %T %v; want a *fault.Error", err, err)
			}
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("fault (-want +got):\n%s", diff)
			}
		})
	}
}

func testForeignErrors(t *testing.T, open Open) {
	_, err := fail(t, open, fmt.Errorf("query users: %w", errCause)).Hello(t.Context(), conns("a"))
	if !fault.IsReason(err, fault.InternalReason) {
		t.Fatalf("Hello = %v; want %s", err, fault.InternalReason)
	}
	// Invariant 9: what went wrong inside is for the log of the side where it went wrong.
	if strings.Contains(err.Error(), "hunter2") || errors.Is(err, errCause) {
		t.Errorf("Hello = %v; want an error without its cause", err)
	}
}

func testPanic(t *testing.T, open Open) {
	client := serve(t, open, func(ctx context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		if len(r.GetConnections()) == 0 {
			panic("hunter2")
		}
		return echo(ctx, r)
	})
	_, err := client.Hello(t.Context(), conns())
	if !fault.IsReason(err, fault.InternalReason) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Hello that panics = %v; want %s without the value", err, fault.InternalReason)
	}
	if _, err := client.Hello(t.Context(), conns("a")); err != nil {
		t.Errorf("Hello after a panic = %v; want no error", err)
	}
}

func testUnknownMethod(t *testing.T, open Open) {
	n := open(t, func(h calls.Host) {
		presencev1.RegisterPresenceInternalServiceServer(h, presence{hello: echo})
	})
	const full = "/oceanchat.presence.v1.PresenceInternalService/Guess"
	err := n.Invoke(t.Context(), full, conns("a"), &presencev1.HelloResponse{})
	if !fault.IsReason(err, fault.UnknownMethod) {
		t.Errorf("Invoke(%s) = %v; want %s", full, err, fault.UnknownMethod)
	}
	// The service embeds the generated answer for methods that it did not write.
	_, err = presencev1.NewPresenceInternalServiceClient(n).Renew(t.Context(), &presencev1.RenewRequest{})
	if !fault.IsReason(err, fault.UnknownMethod) {
		t.Errorf("Renew, which is not written = %v; want %s", err, fault.UnknownMethod)
	}
}

func testNotServed(t *testing.T, open Open) {
	client := presencev1.NewPresenceInternalServiceClient(open(t, func(calls.Host) {}))
	_, err := client.Hello(t.Context(), conns("a"))
	if f := fault.Of(err); f == nil || f.Reason != fault.Overloaded || f.RetryAfter <= 0 {
		t.Errorf("Hello of a service that is not served = %v; want %s with advice when to retry", err, fault.Overloaded)
	}
}
