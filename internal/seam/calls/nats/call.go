package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

// The headers beside those of package crossing.
const (
	headerMethod  = "oc-method"
	headerTimeout = "oc-timeout" // microseconds that the caller still waits; no time of day, as clocks differ
	headerFault   = "oc-fault"   // in an answer: its data is a fault
)

// Invoke calls the method at one of the instances of its target. Options are ignored.
func (n *Network) Invoke(ctx context.Context, fullMethod string, args, reply any, _ ...grpc.CallOption) error {
	target := calls.Target(fullMethod)
	if target == "" {
		return crossing.NotServed(nil, "method %s belongs to no target", fullMethod)
	}
	c, err := n.prepare(ctx, fullMethod, args, reply)
	if err != nil {
		return err
	}
	defer c.cancel()
	err = backbone.ErrNoResponders
	if shard := calls.ShardOf(ctx); shard != "" && backbone.CheckTopic(shard, false) == nil {
		err = c.send(ShardSubject(target, shard))
	}
	if errors.Is(err, backbone.ErrNoResponders) {
		err = c.send(CallSubject(target))
	}
	if calls.NoSideEffects(fullMethod) {
		err = c.repeat(target, err)
	}
	return c.outcome(err)
}

// repeat asks another instance, any one, as long as err says that one took the call and is dead or hangs.
func (c *call) repeat(target string, err error) error {
	p := c.n.patienceWith(target)
	if f := (*fault.Error)(nil); err == nil || errors.As(err, &f) {
		p.Regain()
	}
	for try := 1; errors.Is(err, backbone.ErrSilent) && try < crossing.Tries && p.Spend(); try++ {
		c.n.observer.Repeat(c.method)
		err = c.send(CallSubject(target))
	}
	return err
}

func (n *Network) patienceWith(target string) *crossing.Patience {
	p, ok := n.patience.Load(target)
	if !ok {
		p, _ = n.patience.LoadOrStore(target, new(crossing.Patience))
	}
	return p.(*crossing.Patience)
}

// NewStream always fails: the seam has unary calls only.
func (n *Network) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, crossing.ErrStreams
}

// Gateway returns the connection to one gateway instance, whether it is there or not.
func (n *Network) Gateway(id chat.GatewayID) grpc.ClientConnInterface { return gateway{n, id} }

// gateway is a connection to one gateway instance.
type gateway struct {
	n  *Network
	id chat.GatewayID
}

// Invoke is as Network.Invoke; a gateway that is gone is OVERLOADED.
func (g gateway) Invoke(ctx context.Context, fullMethod string, args, reply any, _ ...grpc.CallOption) error {
	c, err := g.n.prepare(ctx, fullMethod, args, reply)
	if err != nil {
		return err
	}
	defer c.cancel()
	return c.outcome(c.send(GatewaySubject(g.id)))
}

// NewStream always fails: the seam has unary calls only.
func (g gateway) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, crossing.ErrStreams
}

// call is one call on the caller's side.
type call struct {
	n      *Network
	ctx    context.Context //nolint:containedctx // of the one call that it lives for
	cancel context.CancelFunc
	method string
	out    backbone.Envelope
	reply  proto.Message
}

// prepare puts a call into words. Its error is a fault, and then there is nothing to cancel.
func (n *Network) prepare(ctx context.Context, fullMethod string, args, reply any) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Of(err)
	}
	in, ok := args.(proto.Message)
	out, ok2 := reply.(proto.Message)
	if !ok || !ok2 || !in.ProtoReflect().IsValid() || !out.ProtoReflect().IsValid() {
		return nil, fault.Of(fmt.Errorf("call %s with %T for %T: both must be protobuf messages", fullMethod, args, reply))
	}
	data, err := proto.Marshal(in)
	if err != nil {
		return nil, fault.Of(fmt.Errorf("call %s: %w", fullMethod, err))
	}
	if len(data) > crossing.MaxBytes {
		return nil, fault.New(fault.TooLarge, "the request has %d bytes; at most %d", len(data), crossing.MaxBytes)
	}
	h := make(backbone.Header, 6)
	h.Set(headerMethod, fullMethod)
	crossing.Inject(ctx, h.Set)
	c := &call{n: n, method: fullMethod, out: backbone.Envelope{Header: h, Data: data}, reply: out}
	c.ctx, c.cancel = context.WithTimeout(ctx, crossing.MaxUnbounded)
	if _, ok := ctx.Deadline(); ok {
		c.cancel()
		c.ctx, c.cancel = ctx, func() {}
	}
	return c, nil
}

// send sends the call and reads the answer. Its error is a fault of the other side, or the backbone's.
func (c *call) send(subject string) error {
	end, _ := c.ctx.Deadline()
	c.out.Header.Set(headerTimeout, strconv.FormatInt(max(time.Until(end).Microseconds(), 1), 10))
	a, err := c.n.requests.Request(c.ctx, subject, c.out)
	if err != nil {
		return err
	}
	if a.Header.Get(headerFault) != "" {
		return crossing.DecodeFault(a.Data)
	}
	if err := proto.Unmarshal(a.Data, c.reply); err != nil {
		return fault.Wrap(fmt.Errorf("answer to %s: %w", c.method, err), fault.InternalReason, "internal error")
	}
	return nil
}

// outcome makes a fault of what send returned.
func (c *call) outcome(err error) error {
	var f *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, backbone.ErrNoResponders):
		return crossing.NotServed(err, "nobody serves %s at the moment", c.method)
	case errors.Is(err, backbone.ErrBusy):
		return crossing.NotServed(err, "who serves %s has too much to do", c.method)
	case errors.Is(err, backbone.ErrRefused):
		return crossing.NotServed(err, "%s cannot be reached", c.method)
	case errors.Is(err, backbone.ErrTooLarge):
		return fault.Wrap(err, fault.InternalReason, "internal error")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Of(err)
	}
	return crossing.OutcomeUnknown(err)
}

// answer serves one call.
func (n *Network) answer(t *crossing.Table, r backbone.Envelope) backbone.Envelope {
	ctx, cancel := n.base, func() {}
	if us, err := strconv.ParseInt(r.Header.Get(headerTimeout), 10, 64); err == nil {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(min(us, int64(time.Hour/time.Microsecond)))*time.Microsecond)
	}
	defer cancel()
	data, f := n.handle(ctx, t, r)
	if f != nil {
		return backbone.Envelope{Header: backbone.Header{headerFault: {"1"}}, Data: crossing.EncodeFault(f)}
	}
	return backbone.Envelope{Data: data}
}

// handle runs the handler, watched.
func (n *Network) handle(ctx context.Context, t *crossing.Table, r backbone.Envelope) ([]byte, *fault.Error) {
	name := r.Header.Get(headerMethod)
	m, f := t.Find(name)
	if f != nil {
		return nil, f
	}
	ctx, err := crossing.Extract(ctx, r.Header.Get)
	if err != nil {
		return nil, crossing.Fault(ctx, n.log, name, err)
	}
	inner, serving := n.observer.Serve(ctx, name)
	var data []byte
	err = m.Call(inner,
		func(in any) error { return decode(r.Data, in) },
		func(out any) (err error) {
			data, err = encode(out)
			return err
		})
	if err != nil {
		f = crossing.Fault(ctx, n.log, name, err)
		serving.Done(f)
		return nil, f
	}
	serving.Done(nil)
	return data, nil
}

func decode(data []byte, in any) error {
	msg, ok := in.(proto.Message)
	if !ok {
		return fmt.Errorf("decode %T: it must be a protobuf message", in)
	}
	if err := proto.Unmarshal(data, msg); err != nil {
		return fault.Wrap(err, fault.Malformed, "the call's request is not readable")
	}
	return nil
}

func encode(out any) ([]byte, error) {
	msg, ok := out.(proto.Message)
	if !ok || !msg.ProtoReflect().IsValid() {
		return nil, fmt.Errorf("encode %T: it must be a protobuf message and not nil", out)
	}
	data, err := proto.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	if len(data) > crossing.MaxBytes {
		return nil, fmt.Errorf("the answer has %d bytes; at most %d", len(data), crossing.MaxBytes)
	}
	return data, nil
}
