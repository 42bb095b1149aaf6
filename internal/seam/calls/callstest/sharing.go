package callstest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// testOwnership: each side keeps and changes what it has, and the other never notices.
func testOwnership(t *testing.T, open Open) {
	kept := &presencev1.HelloResponse{Displaced: conns("cached").GetConnections()}
	var seen *presencev1.HelloRequest
	client := serve(t, open, func(_ context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		seen = r
		r.Connections[0].ConnectionId = "changed by the handler"
		return kept, nil
	})
	req := conns("mine")
	got, err := client.Hello(t.Context(), req)
	if err != nil {
		t.Fatalf("Hello = %v; want no error", err)
	}
	if !proto.Equal(req, conns("mine")) {
		t.Errorf("the request is now %v; want it as it was", req)
	}
	req.Connections[0].ConnectionId = "changed by the caller"
	got.Displaced[0].ConnectionId = "changed by the caller"
	if id := seen.Connections[0].ConnectionId; id != "changed by the handler" {
		t.Errorf("the handler's request is now %q; want it as the handler left it", id)
	}
	if id := kept.Displaced[0].ConnectionId; id != "cached" {
		t.Errorf("the handler's answer is now %q; want %q", id, "cached")
	}
}

// testUsedAnswer: what the caller gives as the answer's place is overwritten, not added to.
func testUsedAnswer(t *testing.T, open Open) {
	n := open(t, func(h calls.Host) {
		presencev1.RegisterPresenceInternalServiceServer(h, presence{hello: echo})
	})
	got := &presencev1.HelloResponse{Displaced: conns("old", "older").GetConnections()}
	err := n.Invoke(t.Context(), presencev1.PresenceInternalService_Hello_FullMethodName, conns("new"), got)
	if err != nil || len(got.GetDisplaced()) != 1 || got.GetDisplaced()[0].GetConnectionId() != "new" {
		t.Errorf("Invoke into a used answer = %v, %v; want only the new connection", got, err)
	}
}

func testConcurrent(t *testing.T, open Open) {
	client := serve(t, open, echo)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 50 {
				id := fmt.Sprintf("c%d-%d", i, j)
				got, err := client.Hello(t.Context(), conns(id))
				if err != nil || got.GetDisplaced()[0].GetConnectionId() != id {
					t.Errorf("Hello(%s) = %v, %v; want it back", id, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// testLarge: history and sync answer with as much.
func testLarge(t *testing.T, open Open) {
	const size = 4 << 20
	client := serve(t, open, func(_ context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		return &presencev1.HelloResponse{Displaced: conns(strings.Repeat(r.GetConnections()[0].GetConnectionId(), size)).GetConnections()}, nil
	})
	var wg sync.WaitGroup
	for _, letter := range []string{"a", "b", "c"} {
		wg.Go(func() {
			got, err := client.Hello(t.Context(), conns(letter))
			if err != nil || got.GetDisplaced()[0].GetConnectionId() != strings.Repeat(letter, size) {
				t.Errorf("Hello(%s) = %d bytes, %v; want %d times the letter", letter, proto.Size(got), err, size)
			}
		})
	}
	wg.Wait()
}

// testShard: whether somebody serves the shard or not, the call is answered.
func testShard(t *testing.T, open Open) {
	var host calls.Host
	n := open(t, func(h calls.Host) {
		host = h
		presencev1.RegisterPresenceInternalServiceServer(h, presence{hello: echo})
	})
	client := presencev1.NewPresenceInternalServiceClient(n)
	call := func(when string) {
		t.Helper()
		for _, shard := range []string{"7", "8", "not one.word", ""} {
			if _, err := client.Hello(calls.WithShard(t.Context(), shard), conns("a")); err != nil {
				t.Errorf("Hello for shard %q %s = %v; want no error", shard, when, err)
			}
		}
	}
	call("that nobody serves")
	stop := host.ServeShard("presence", "7")
	host.ServeShard("presence", "7")() // the same once more changes nothing
	call("while 7 is served")
	stop()
	call("after 7 was served")
	t.Cleanup(host.ServeShard("presence", "7"))
	stop()
	call("that is served again")
}

func testRegisterTwice(t *testing.T, open Open) {
	var got any
	open(t, func(h calls.Host) {
		presencev1.RegisterPresenceInternalServiceServer(h, presence{hello: echo})
		defer func() { got = recover() }()
		presencev1.RegisterPresenceInternalServiceServer(h, presence{hello: echo})
	})
	if got == nil {
		t.Error("registering a service twice did not panic; want a panic")
	}
}

func testStreams(t *testing.T, open Open) {
	n := open(t, func(calls.Host) {})
	for _, c := range []grpc.ClientConnInterface{n, n.Gateway("g1")} {
		if _, err := c.NewStream(t.Context(), &grpc.StreamDesc{}, "/x/Y"); err == nil {
			t.Errorf("NewStream of %T = nil; want an error", c)
		}
	}
}

func tell(ctx context.Context, n calls.Network, g chat.GatewayID, conn string) error {
	_, err := wsgatewayv1.NewGatewayServiceClient(n.Gateway(g)).Tell(ctx, &wsgatewayv1.TellRequest{
		Signal: &flowv1.Signal{}, ConnectionIds: []string{conn},
	})
	return err
}

func testGateways(t *testing.T, open Open) {
	one, two := newGateway(), newGateway()
	n := open(t, func(h calls.Host) {
		t.Cleanup(h.ServeGateway("g1", one.register))
		t.Cleanup(h.ServeGateway("g2", two.register))
	})
	for g, server := range map[chat.GatewayID]gatewayServer{"g1": one, "g2": two} {
		if err := tell(t.Context(), n, g, "for "+string(g)); err != nil {
			t.Fatalf("Tell at %s = %v; want no error", g, err)
		}
		if got := <-server.told; len(got) != 1 || got[0] != "for "+string(g) {
			t.Errorf("gateway %s was told %q; want %q", g, got, "for "+string(g))
		}
	}
	if err := tell(t.Context(), n, "g3", "x"); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("Tell at a gateway that never was = %v; want UNAVAILABLE", err)
	}
	_, err := wsgatewayv1.NewGatewayServiceClient(n).Tell(t.Context(), &wsgatewayv1.TellRequest{})
	if fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("Tell without a gateway = %v; want UNAVAILABLE", err)
	}
}

func testGatewayStops(t *testing.T, open Open) {
	var host calls.Host
	n := open(t, func(h calls.Host) { host = h })
	stop := host.ServeGateway("g1", newGateway().register)
	if err := tell(t.Context(), n, "g1", "c1"); err != nil {
		t.Fatalf("Tell = %v; want no error", err)
	}
	stop()
	if err := tell(t.Context(), n, "g1", "c1"); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("Tell after stop = %v; want UNAVAILABLE", err)
	}
	again := newGateway()
	t.Cleanup(host.ServeGateway("g1", again.register))
	stop() // a late second stop must not end the newer one
	if err := tell(t.Context(), n, "g1", "c2"); err != nil {
		t.Errorf("Tell after serving again = %v; want no error", err)
	}
}
