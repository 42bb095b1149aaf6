package grpcnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

// roundRobin is the one service config there is: instances in turn, and no repetition by policy.
const roundRobin = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// patience is how long a call waits while no instance can be reached: a little more than the longest pause between two
// attempts to connect.
const patience = 1300 * time.Millisecond

var errClosed = errors.New("grpcnet: closed")

// Invoke calls the method at one of the instances of its target. Options are ignored.
func (n *Network) Invoke(ctx context.Context, fullMethod string, args, reply any, _ ...grpc.CallOption) error {
	if err := ctx.Err(); err != nil {
		return fault.Of(err)
	}
	target := calls.Target(fullMethod)
	if target == "" {
		return crossing.NotServed(nil, "method %s belongs to no target", fullMethod)
	}
	if err := checkMessages(fullMethod, args, reply); err != nil {
		return err
	}
	p, err := n.peers(target)
	if err != nil {
		return crossing.NotServed(err, "%s cannot be reached", target)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, crossing.MaxUnbounded)
		defer cancel()
	}
	if calls.NoSideEffects(fullMethod) {
		return n.first(ctx, p, fullMethod, args, reply)
	}
	return p.invoke(ctx, fullMethod, args, reply)
}

// peers is how the instances of a target are reached.
type peers struct {
	target   string
	conn     *grpc.ClientConn
	patience crossing.Patience // with calls that may be repeated
}

// invoke calls one instance, and another while one says that it does not have the service (yet).
func (p *peers) invoke(ctx context.Context, fullMethod string, args, reply any) error {
	for try := 1; ; try++ {
		var at peer.Peer
		err := p.conn.Invoke(outgoing(ctx), fullMethod, args, reply, grpc.Peer(&at))
		if err == nil {
			return nil
		}
		f, elsewhere := received(ctx, err, p.target, at.Addr != nil)
		never := at.Addr == nil && status.Code(err) == codes.Unavailable
		if try == crossing.Tries || !elsewhere && !(never && try == 1 && connected(ctx, p.conn)) {
			return f
		}
	}
}

// connected waits for a connection to any instance, as long as it takes to notice one that has just started again. It is
// false if there is none by then.
func connected(ctx context.Context, conn *grpc.ClientConn) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
	return true
}

// NewStream always fails: the seam has unary calls only.
func (*Network) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, crossing.ErrStreams
}

// Gateway returns a connection whose calls fail with OVERLOADED: the instances behind a target are not told apart here.
func (*Network) Gateway(id chat.GatewayID) grpc.ClientConnInterface { return nowhere{id} }

type nowhere struct{ id chat.GatewayID }

// Invoke always fails.
func (g nowhere) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return crossing.NotServed(nil, "gateway %s cannot be reached by gRPC", g.id)
}

// NewStream always fails.
func (nowhere) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, crossing.ErrStreams
}

// checkMessages returns a fault for what cannot be sent.
func checkMessages(fullMethod string, args, reply any) error {
	in, ok := args.(proto.Message)
	out, ok2 := reply.(proto.Message)
	if !ok || !ok2 || !in.ProtoReflect().IsValid() || !out.ProtoReflect().IsValid() {
		return fault.Of(fmt.Errorf("call %s with %T for %T: both must be protobuf messages", fullMethod, args, reply))
	}
	if size := proto.Size(in); size > crossing.MaxBytes {
		return fault.New(fault.TooLarge, "the request has %d bytes; at most %d", size, crossing.MaxBytes)
	}
	return nil
}

// outgoing returns ctx with what crosses of it, and no metadata that the caller may have set.
func outgoing(ctx context.Context) context.Context {
	md := make(metadata.MD, 4)
	crossing.Inject(ctx, func(key, value string) { md[key] = []string{value} })
	return metadata.NewOutgoingContext(ctx, md)
}

// received makes a fault of what gRPC returned. left says that the call was given to a connection, so that an instance
// may have executed it; elsewhere, that the instance did not execute it as it has no such service.
func received(ctx context.Context, err error, target string, left bool) (f *fault.Error, elsewhere bool) {
	s := status.Convert(err)
	for _, d := range s.Proto().GetDetails() {
		if t := d.GetTypeUrl(); t == faultType || t == notServedType {
			return crossing.DecodeFault(d.GetValue()), t == notServedType
		}
	}
	return lost(ctx, err, s.Code(), target, left), false
}

// lost makes a fault of an error that is not an instance's answer.
func lost(ctx context.Context, err error, code codes.Code, target string, left bool) *fault.Error {
	switch {
	case ctx.Err() != nil:
		return fault.Of(ctx.Err())
	case code == codes.Unavailable || code == codes.Canceled:
		if left {
			return crossing.OutcomeUnknown(err)
		}
		return crossing.NotServed(err, "%s is not reachable", target)
	case code == codes.DeadlineExceeded:
		return crossing.OutcomeUnknown(err)
	}
	return fault.Of(fmt.Errorf("call %s: %w", target, err))
}

// peers returns the way to a target, which exists from the first call on.
func (n *Network) peers(target string) (*peers, error) {
	n.mu.RLock()
	p := n.targets[target]
	n.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.targets[target]; p != nil {
		return p, nil
	}
	if n.closed {
		return nil, errClosed
	}
	conn, err := n.dial(target)
	if err != nil {
		return nil, err
	}
	p = &peers{target: target, conn: conn}
	n.targets[target] = p
	return p, nil
}

func (n *Network) dial(target string) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(n.creds), grpc.WithDefaultServiceConfig(roundRobin), grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), grpc.WithNoProxy(), grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wireBytes), grpc.MaxCallSendMsgSize(wireBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout, PermitWithoutStream: true}),
		// A restarted peer is used again within about a second, and one that does not answer is given up after two.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
	}
	if addrs := n.instances[target]; len(addrs) > 0 {
		r := manual.NewBuilderWithScheme("addrs")
		r.InitialState(fixed(addrs))
		return grpc.NewClient("addrs:///"+target, append(opts, grpc.WithResolvers(r))...)
	}
	if n.cfg.Peers == "" {
		return nil, fmt.Errorf("grpc.addrs has no address of %s, and grpc.peers is empty", target)
	}
	return grpc.NewClient(strings.ReplaceAll(n.cfg.Peers, placeholder, target), opts...)
}

// fixed returns addresses as a resolver does. Each server is to be certified for its own host.
func fixed(addrs []string) resolver.State {
	var s resolver.State
	for _, a := range addrs {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			host = a
		}
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a, ServerName: host}}})
	}
	return s
}
