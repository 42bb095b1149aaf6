// Package calls is the seam through which services reach each other: a unary request to a named method, or to a named
// gateway instance. In one process it is a function call, in a cluster gRPC or NATS; services see generated clients
// over a Network and never know which. Errors arrive as faults on either side.
package calls

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// Network reaches every service. A method's full name ("/oceanchat.auth.v1.AuthService/Login") decides the target, so
// generated clients take a Network as their connection. It is safe for concurrent use.
//
// Request and answer belong to the caller alone: nothing is shared with the other side. Of the context, Identity,
// client, request id, the span of a trace and the deadline cross, and nothing else. A caller that is cancelled is let go at
// once, but a handler may go on until the deadline: cancellation reaches it in process and by gRPC, not by NATS.
// Between processes a call without a deadline gets one of 30 s. Only unary calls are supported.
//
// Every error is a *fault.Error with all its fields but the cause, which stays on the side where it happened and is
// logged there; what was no fault, a panic included, is INTERNAL. A call that ended with its context is
// OUTCOME_UNKNOWN, as is one whose answer was lost. A service that nobody serves (yet), or whose instance has more to do
// than it may, is OVERLOADED: nothing was done. A method that its service lacks is UNKNOWN_METHOD. No call that may have
// been executed is ever repeated by the network, unless its method is declared free of side effects: then, while repeats are
// few, further instances are asked when one does not answer, and the first answer counts (see NoSideEffects).
type Network interface {
	grpc.ClientConnInterface
	// Gateway returns the connection to one ws-gateway instance. Calls to one that is gone fail with OVERLOADED.
	Gateway(id chat.GatewayID) grpc.ClientConnInterface
}

// Host is where services are served. Registering the same service twice panics, as in gRPC.
type Host interface {
	grpc.ServiceRegistrar
	// ServeGateway makes services reachable under a gateway's id until stop is called; calls that are under way then
	// finish. Serving an id twice panics; stop may be called more than once.
	ServeGateway(id chat.GatewayID, register func(grpc.ServiceRegistrar)) (stop func())
	// ServeShard makes this instance one of those that get the calls of a shard of the target (see WithShard), until stop
	// is called. What it serves is what is registered. Where instances cannot be told apart it does nothing.
	ServeShard(target, shard string) (stop func())
}

// Identity is who a request acts for. It crosses the seam with the context.
type Identity struct {
	UserID    chat.UserID
	SessionID chat.SessionID
	DeviceID  chat.DeviceID
	Platform  authv1.Platform
	// ConnectionID is set for requests from a long connection.
	ConnectionID chat.ConnectionID
}

type identityKey struct{}

// WithIdentity returns a context that acts for id.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityOf returns who ctx acts for; the zero Identity is nobody: an internal call or a public method.
func IdentityOf(ctx context.Context) Identity {
	id, _ := ctx.Value(identityKey{}).(Identity)
	return id
}

type clientKey struct{}

// WithClient returns a context of a request that came from the given network, which is for limits only and shows up in
// no log.
func WithClient(ctx context.Context, network string) context.Context {
	return context.WithValue(ctx, clientKey{}, network)
}

// ClientOf returns the network that ctx's request came from, or "".
func ClientOf(ctx context.Context) string {
	network, _ := ctx.Value(clientKey{}).(string)
	return network
}

// WithRequestID returns a context of the request named id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return obs.WithRequest(ctx, id)
}

// RequestID returns the id of the request that ctx serves, or "".
func RequestID(ctx context.Context) string { return obs.RequestOf(ctx) }

// targets lists the packages whose target is not named as they are.
var targets = map[string]string{
	"push":           "pusher-offline",
	"pusherrealtime": "pusher-realtime",
	"wsgateway":      "ws-gateway",
}

// Target returns the target that owns a method, from its full name, or "" if the name is none of OceanChat's.
func Target(fullMethod string) string {
	rest, ok := strings.CutPrefix(fullMethod, "/oceanchat.")
	if !ok {
		return ""
	}
	pkg, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	if t, ok := targets[pkg]; ok {
		return t
	}
	return pkg
}
