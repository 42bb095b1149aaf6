package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/protobuf/proto"

	routerv1 "github.com/oceanchat/oceanchat/gen/oceanchat/router/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// retryUnknown is the advice after a time-out; the repeated command finds what the first one did.
const retryUnknown = time.Second

// Route answers one packet in its own form. Whatever goes wrong with the request is told to the client inside the answer;
// the error of Route itself is for the gateway and means that the call was wrong. A request without an id gets an empty
// packet.
func (s *Service) Route(ctx context.Context, req *routerv1.RouteRequest) (*routerv1.RouteResponse, error) {
	form := wire.Form(req.GetForm())
	if !form.Valid() {
		return nil, fault.InvalidField("form", "one of json, proto")
	}
	p := packet{
		Service: s, req: req, form: form, requestID: cmp.Or(req.GetRequestId(), chat.NewID()),
		method: unknownMethod, took: -1,
	}
	result, err := p.serve(ctx)
	if err != nil {
		s.logCause(ctx, &p, err)
	}
	s.metrics.count(p.method, err, p.took)
	return &routerv1.RouteResponse{Packet: p.answer(result, err)}, nil
}

// packet is one request on its way through the router.
type packet struct {
	*Service
	req       *routerv1.RouteRequest
	form      wire.Form
	requestID string
	id        wire.ID
	method    string        // a known name, or unknownMethod: it is a label
	took      time.Duration // by the owner of the method; negative if it was not called
}

// serve returns the encoded result of the packet's request. A panic in it is an INTERNAL error of this request alone.
func (p *packet) serve(ctx context.Context) (result []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.Wrap(&panicError{r, debug.Stack()}, fault.InternalReason, "internal error")
		}
	}()
	r, err := p.form.Parse(p.req.GetPacket())
	p.id = r.ID
	if err != nil {
		return nil, err
	}
	if err := p.admit(ctx); err != nil {
		return nil, err
	}
	m, ok := wire.Lookup(r.Method)
	if !ok || !m.Realtime {
		return nil, fault.New(fault.UnknownMethod, "there is no such method on a long connection")
	}
	p.method = m.Name
	params := m.NewRequest()
	if err := p.form.Decode(r.Params, params); err != nil {
		return nil, err
	}
	return p.call(ctx, m, params)
}

// admit refuses requests without a user and those above the user's rate. It lets pass when the counters can't be
// reached: they protect, they do not decide.
func (p *packet) admit(ctx context.Context) error {
	user := p.req.GetUserId()
	if user == "" {
		return fault.New(fault.TokenMissing, "the connection has no user")
	}
	if p.cfg.RateLimit == 0 {
		return nil
	}
	ok, retryAfter, err := p.limits.Take(ctx, "router/"+user, float64(p.cfg.RateLimit), p.cfg.RateLimit)
	switch {
	case err != nil:
		p.metrics.unlimited.Inc()
		return nil
	case !ok:
		p.metrics.limited.Inc()
		return fault.New(fault.RateLimited, "more than %d requests a second", p.cfg.RateLimit).After(retryAfter)
	}
	return nil
}

// call asks the owner of m, unless its circuit is open, and encodes the answer.
func (p *packet) call(ctx context.Context, m wire.Method, params proto.Message) ([]byte, error) {
	b := p.breakers[calls.Target(m.FullMethod)]
	t, wait, ok := b.allow(time.Now())
	if !ok {
		return nil, fault.New(fault.Overloaded, "the service is failing; try again later").After(wait)
	}
	out := unjudged
	defer func() { b.done(t, out, time.Now()) }()
	resp := m.NewResponse()
	err := p.invoke(ctx, m.FullMethod, params, resp)
	out = judge(ctx, err)
	if calls.NoSideEffects(m.FullMethod) && fault.IsReason(err, fault.OutcomeUnknown) {
		return nil, fault.Wrap(err, fault.Overloaded, "the answer did not arrive in time; ask again").After(retryUnknown)
	}
	if err != nil {
		return nil, err
	}
	result, err := p.form.Append(nil, resp)
	if err != nil {
		return nil, fault.Wrap(err, fault.InternalReason, "internal error")
	}
	return result, nil
}

func (p *packet) invoke(ctx context.Context, fullMethod string, params, resp proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	ctx = calls.WithIdentity(ctx, calls.Identity{
		UserID:       chat.UserID(p.req.GetUserId()),
		SessionID:    chat.SessionID(p.req.GetSessionId()),
		DeviceID:     chat.DeviceID(p.req.GetDeviceId()),
		Platform:     p.req.GetPlatform(),
		ConnectionID: chat.ConnectionID(p.req.GetConnectionId()),
	})
	ctx = calls.WithRequestID(ctx, p.requestID)
	if shard := p.shard(fullMethod, params); shard != "" {
		ctx = calls.WithShard(ctx, shard)
	}
	start := time.Now()
	err := p.net.Invoke(ctx, fullMethod, params, resp)
	p.took = time.Since(start)
	if err != nil && ctx.Err() != nil && fault.CodeOf(err) == fault.Internal {
		// The owner's own words for a call that was cut short are not an error of the owner.
		return fault.Wrap(err, fault.OutcomeUnknown, "the answer did not arrive in time; repeat with the same id").After(retryUnknown)
	}
	return err
}

// answer encodes what the client gets: nothing if it asked for no answer.
func (p *packet) answer(result []byte, err error) []byte {
	var broken *wire.EnvelopeError
	if errors.As(err, &broken) {
		p.id = broken.ID
	}
	switch {
	case !p.id.Present() && (broken == nil || !broken.Answered()):
		return nil
	case err != nil:
		return p.form.Error(nil, p.id, wire.ErrorObject(err, p.requestID), wire.Number(err))
	}
	return p.form.Result(make([]byte, 0, len(result)+64), p.id, result)
}

// panicError is a panic while a request was served.
type panicError struct {
	value any
	stack []byte
}

// Error leaves the stack to the log.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// logCause logs what the client is not told: the cause of an error of the router's own. Services' causes are logged where
// the call was served and do not come this far.
func (s *Service) logCause(ctx context.Context, p *packet, err error) {
	f := fault.Of(err)
	if f.Err == nil || f.Code != fault.Internal {
		return
	}
	attrs := []slog.Attr{
		slog.String(obs.Method, p.method), slog.String(obs.RequestID, p.requestID),
		slog.String(obs.UserID, p.req.GetUserId()), slog.Any(obs.Err, f.Err),
	}
	if pe := (*panicError)(nil); errors.As(f.Err, &pe) {
		attrs = append(attrs, slog.String("stack", string(pe.stack)))
	}
	s.log.LogAttrs(ctx, slog.LevelError, "request failed", attrs...)
}
