// Package callstest is the conformance suite of the calls seam: what every implementation must do, in one process as
// over a network. It borrows two generated services and serves small fakes of them.
package callstest

import (
	"context"
	"testing"

	"google.golang.org/grpc"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// Open makes a fresh Host, lets register fill it, begins to serve and returns a Network that reaches it. Gateways may
// be served on the Host later too. It registers its own clean-up on t.
type Open func(t *testing.T, register func(calls.Host)) calls.Network

// test is one rule.
type test struct {
	name string
	run  func(*testing.T, Open)
}

func runAll(t *testing.T, open Open, tests []test) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open) })
	}
}

// TestNetwork runs every rule of calls.Network and calls.Host.
func TestNetwork(t *testing.T, open Open) {
	TestCalls(t, open)
	runAll(t, open, []test{
		{"gateways are addressed by id", testGateways},
		{"a gateway that stopped is gone", testGatewayStops},
	})
}

// TestCancellation is for networks by which the handler learns that its caller gave up.
func TestCancellation(t *testing.T, open Open) {
	runAll(t, open, []test{{"cancellation reaches the handler", testCancel}})
}

// TestCalls runs the rules of networks that know targets, but not gateways by their ids.
func TestCalls(t *testing.T, open Open) {
	runAll(t, open, []test{
		{"answer", testAnswer},
		{"faults cross with all fields", testFaults},
		{"other errors become internal", testForeignErrors},
		{"a panic is one failed call", testPanic},
		{"identity and request id cross", testIdentity},
		{"nothing else of the context crosses", testHiddenValues},
		{"the span of a trace crosses", testTrace},
		{"a caller that gives up is let go", testGiveUp},
		{"deadline becomes a fault", testDeadline},
		{"an ended context makes no call", testEnded},
		{"request and answer are nobody else's", testOwnership},
		{"the answer replaces what was in its place", testUsedAnswer},
		{"concurrent calls", testConcurrent},
		{"calls within calls", testNested},
		{"unknown method", testUnknownMethod},
		{"service that is not served", testNotServed},
		{"registering twice panics", testRegisterTwice},
		{"streams are refused", testStreams},
		{"answers of 4 MiB", testLarge},
		{"a shard is a hint", testShard},
	})
}

// hello is the body of the borrowed method.
type hello func(context.Context, *presencev1.HelloRequest) (*presencev1.HelloResponse, error)

type presence struct {
	presencev1.UnimplementedPresenceInternalServiceServer
	hello hello
	look  func(context.Context) error // of Lookup, which has no side effects; nil: nobody asks
}

func (p presence) Lookup(ctx context.Context, r *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	return &presencev1.LookupResponse{Connections: conns(r.GetUserIds()...).GetConnections()}, p.look(ctx)
}

func (p presence) Hello(ctx context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
	return p.hello(ctx, r)
}

// serve returns a client of a service whose Hello is h.
func serve(t *testing.T, open Open, h hello) presencev1.PresenceInternalServiceClient {
	t.Helper()
	return presencev1.NewPresenceInternalServiceClient(open(t, func(host calls.Host) {
		presencev1.RegisterPresenceInternalServiceServer(host, presence{hello: h})
	}))
}

// gatewayServer answers every Tell and remembers for whom.
type gatewayServer struct {
	wsgatewayv1.UnimplementedGatewayServiceServer
	told chan []string
}

func newGateway() gatewayServer { return gatewayServer{told: make(chan []string, 16)} }

func (g gatewayServer) Tell(_ context.Context, r *wsgatewayv1.TellRequest) (*wsgatewayv1.TellResponse, error) {
	g.told <- r.GetConnectionIds()
	return &wsgatewayv1.TellResponse{}, nil
}

func (g gatewayServer) register(r grpc.ServiceRegistrar) {
	wsgatewayv1.RegisterGatewayServiceServer(r, g)
}

// conns returns a request of connections with the given ids.
func conns(ids ...string) *presencev1.HelloRequest {
	r := &presencev1.HelloRequest{}
	for _, id := range ids {
		r.Connections = append(r.Connections, &presencev1.Connection{ConnectionId: id})
	}
	return r
}

// echo answers with what it was asked.
func echo(_ context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
	return &presencev1.HelloResponse{Displaced: r.GetConnections()}, nil
}
