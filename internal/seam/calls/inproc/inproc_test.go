package inproc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/callstest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNetwork(t *testing.T) {
	callstest.TestNetwork(t, open)
	callstest.TestCancellation(t, open)
}

func open(_ *testing.T, register func(calls.Host)) calls.Network {
	n := inproc.New(slog.New(slog.DiscardHandler))
	register(n)
	return n
}

type server struct {
	presencev1.UnimplementedPresenceInternalServiceServer
	err error
}

func (s server) Lookup(context.Context, *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	if s.err != nil {
		return nil, s.err
	}
	return &presencev1.LookupResponse{Connections: []*presencev1.Connection{{
		UserId: "u1", DeviceId: "d1", GatewayId: "g1", ConnectionId: "c1",
	}}}, nil
}

// Renew answers nothing at all, which no generated server should.
func (server) Renew(context.Context, *presencev1.RenewRequest) (*presencev1.RenewResponse, error) {
	return nil, nil
} //nolint:nilnil // the mistake under test

func (server) Goodbye(context.Context, *presencev1.GoodbyeRequest) (*presencev1.GoodbyeResponse, error) {
	panic("boom")
}

// TestCauseIsLogged: the cause that the caller does not get is in the log, with method and request id.
func TestCauseIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	n := inproc.New(slog.New(slog.NewTextHandler(&log, nil)))
	presencev1.RegisterPresenceInternalServiceServer(n, server{err: errors.New("disk on fire")})
	client := presencev1.NewPresenceInternalServiceClient(n)
	ctx := calls.WithRequestID(t.Context(), "r42")
	_, err1 := client.Lookup(ctx, &presencev1.LookupRequest{})
	_, err2 := client.Renew(ctx, &presencev1.RenewRequest{})
	_, err3 := client.Goodbye(ctx, &presencev1.GoodbyeRequest{})
	if err1 == nil || err2 == nil || err3 == nil {
		t.Fatalf("calls = %v, %v, %v; want three errors", err1, err2, err3)
	}
	for _, want := range []string{
		"disk on fire", "r42", "PresenceInternalService/Lookup", "a message is nil", "panic: boom", "inproc_test.go",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log = %s; want %q in it", log.String(), want)
		}
	}
}

func TestServeGatewayTwice(t *testing.T) {
	t.Parallel()
	n := inproc.New(slog.New(slog.DiscardHandler))
	defer n.ServeGateway("g1", func(grpc.ServiceRegistrar) {})()
	defer func() {
		if recover() == nil {
			t.Error("ServeGateway of an id that is served did not panic; want a panic")
		}
	}()
	n.ServeGateway("g1", func(grpc.ServiceRegistrar) {})
}

func TestWrongMessageType(t *testing.T) {
	t.Parallel()
	n := inproc.New(slog.New(slog.DiscardHandler))
	presencev1.RegisterPresenceInternalServiceServer(n, server{})
	const method = presencev1.PresenceInternalService_Lookup_FullMethodName
	for _, args := range []any{&presencev1.RenewRequest{}, "no message", nil} {
		if err := n.Invoke(t.Context(), method, args, &presencev1.LookupResponse{}); err == nil {
			t.Errorf("Invoke(%T) = nil; want an error", args)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	callstest.Benchmark(b, func(_ *testing.B, register func(calls.Host)) calls.Network { return open(nil, register) })
}
