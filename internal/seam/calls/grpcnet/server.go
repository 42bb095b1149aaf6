package grpcnet

import (
	"context"
	"fmt"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

// The types of the status detail that holds a fault in the words of package crossing.
const (
	faultType     = "oceanchat/fault"
	notServedType = "oceanchat/not-served" // as the service is not registered here, or not yet: another instance may have it
)

// serve answers every call but those of the health service: gRPC wants its services before it serves, while ours come
// one by one as the process starts. To a caller a unary call looks the same.
func (n *Network) serve(_ any, stream grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(stream)
	if n.underWay.Add(1) > int64(n.cfg.MaxCalls) {
		n.underWay.Add(-1)
		return send(faultType, crossing.NotServed(nil, "who serves %s has too much to do", name))
	}
	defer n.underWay.Add(-1)
	m, f := n.services.Find(name)
	if f != nil && f.Reason == fault.Overloaded {
		return send(notServedType, f)
	} else if f != nil {
		return send(faultType, f)
	}
	ctx, err := crossing.Extract(stream.Context(), incoming(stream.Context()))
	if err != nil {
		return send(faultType, crossing.Fault(ctx, n.log, name, err))
	}
	inner, serving := n.observer.Serve(ctx, name)
	err = m.Call(inner, func(in any) error { return receive(stream, in) }, func(out any) error { return answer(stream, out) })
	if err != nil {
		f := crossing.Fault(ctx, n.log, name, err)
		serving.Done(f)
		return send(faultType, f)
	}
	serving.Done(nil)
	return nil
}

// incoming returns what looks up the metadata of a call.
func incoming(ctx context.Context) func(key string) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return func(key string) string {
		if v := md[key]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
}

// receive reads the request.
func receive(stream grpc.ServerStream, in any) error {
	err := stream.RecvMsg(in)
	switch {
	case err == nil:
		return nil
	case stream.Context().Err() != nil:
		return stream.Context().Err()
	case status.Code(err) == codes.ResourceExhausted:
		return fault.Wrap(err, fault.TooLarge, "the request has more than %d bytes", crossing.MaxBytes)
	}
	return fault.Wrap(err, fault.Malformed, "the call's request is not readable")
}

// answer sends the answer.
func answer(stream grpc.ServerStream, out any) error {
	msg, ok := out.(proto.Message)
	if !ok || !msg.ProtoReflect().IsValid() {
		return fmt.Errorf("answer %T: it must be a protobuf message and not nil", out)
	}
	if size := proto.Size(msg); size > crossing.MaxBytes {
		return fmt.Errorf("the answer has %d bytes; at most %d", size, crossing.MaxBytes)
	}
	if err := stream.SendMsg(msg); err != nil {
		if stream.Context().Err() != nil {
			return stream.Context().Err()
		}
		return fmt.Errorf("send the answer: %w", err)
	}
	return nil
}

// send returns a fault as gRPC's status: code and message for everybody, all of it for us.
func send(kind string, f *fault.Error) error {
	return status.FromProto(&spb.Status{
		Code: int32(f.Code.GRPC()), Message: f.Msg,
		Details: []*anypb.Any{{TypeUrl: kind, Value: crossing.EncodeFault(f)}},
	}).Err()
}
