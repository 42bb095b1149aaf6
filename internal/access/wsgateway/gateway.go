package wsgateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// server is the downlink: what the delivery pipeline tells this instance. Its calls queue and return.
type server struct {
	wsgatewayv1.UnimplementedGatewayServiceServer

	s *Service
}

// encoded is one thing to push, encoded at most once per form.
type encoded struct {
	bytes [wire.Proto + 1][]byte
	do    func(f wire.Form) ([]byte, error)
}

func (e *encoded) in(f wire.Form) ([]byte, error) {
	if e.bytes[f] == nil {
		b, err := e.do(f)
		if err != nil {
			return nil, err
		}
		e.bytes[f] = b
	}
	return e.bytes[f], nil
}

// Deliver queues entries for connections and says which of them it could not reach.
func (g *server) Deliver(_ context.Context, req *wsgatewayv1.DeliverRequest) (*wsgatewayv1.DeliverResponse, error) {
	resp := &wsgatewayv1.DeliverResponse{}
	for i, item := range req.GetTask().GetItems() {
		missed := g.deliver(item)
		if len(missed) > 0 {
			resp.Unreached = append(resp.Unreached, &wsgatewayv1.Unreached{Item: uint32(i), To: missed})
		}
	}
	return resp, nil
}

// deliver queues one entry and returns who did not get it. One that cannot be encoded reaches nobody: a reader of the
// same version wrote it, so that is a fault of the server's own.
func (g *server) deliver(item *flowv1.OnlineItem) []*presencev1.Connection {
	p, began := &parcel{}, time.Now()
	e := &p.entry
	if err := proto.Unmarshal(item.GetEntry(), e); err != nil {
		g.s.failed("deliver", "entry of a task not decoded", err)
		return item.GetTo()
	}
	defer g.s.delivered(e, began)
	g.s.addressed(p, len(item.GetTo()), began)
	enc := encoded{do: func(f wire.Form) ([]byte, error) { return f.Append(nil, e) }}
	var missed []*presencev1.Connection
	for _, to := range item.GetTo() {
		if !g.reach(to, p, &enc) {
			missed = append(missed, to)
		}
	}
	g.s.pushed(p, item.GetTo(), missed, began)
	return missed
}

func (g *server) reach(to *presencev1.Connection, p *parcel, enc *encoded) bool {
	c := g.s.conns.get(chat.ConnectionID(to.GetConnectionId()))
	if c == nil {
		if to.GetGatewayId() == string(g.s.id) {
			g.s.goodbyes.add(to) // presence believes in a connection that is not there
		}
		return false
	}
	body, err := enc.in(c.door.form)
	if err != nil {
		g.s.failed("deliver", "entry not encoded", err)
		return false
	}
	return c.deliver(p, body)
}

// Tell queues an ephemeral push. Typing and presence do not join a queue that is half full.
func (g *server) Tell(_ context.Context, req *wsgatewayv1.TellRequest) (*wsgatewayv1.TellResponse, error) {
	method, params, light := signalPush(req.GetSignal())
	if method == "" {
		return &wsgatewayv1.TellResponse{}, nil // a kind of a later version; signals may be lost
	}
	enc := encoded{do: func(f wire.Form) ([]byte, error) {
		b, err := f.Append(nil, params)
		if err != nil {
			return nil, fmt.Errorf("encode push %s: %w", method, err)
		}
		return f.Push(nil, method, b), nil
	}}
	for _, id := range req.GetConnectionIds() {
		c := g.s.conns.get(chat.ConnectionID(id))
		if c == nil || id == req.GetSignal().GetExceptConnectionId() {
			continue
		}
		body, err := enc.in(c.door.form)
		if err != nil {
			return nil, err
		}
		c.tell(body, light)
	}
	return &wsgatewayv1.TellResponse{}, nil
}

func (c *conn) tell(body []byte, light bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stateNow() < connecting || c.over || (light && c.out.half(&c.s.cfg)) {
		return
	}
	c.sendLocked(item{op: c.door.data, body: body})
}

// signalPush returns the name and the params of a signal's push; light ones may be dropped.
func signalPush(s *flowv1.Signal) (method string, params proto.Message, light bool) {
	switch p := s.GetPush().(type) {
	case *flowv1.Signal_Typing:
		return "typing", p.Typing, true
	case *flowv1.Signal_Presence:
		return "presence", p.Presence, true
	case *flowv1.Signal_Receipt:
		return "receipt", p.Receipt, false
	case *flowv1.Signal_Conversation:
		return "conversation", p.Conversation, false
	case *flowv1.Signal_Resync:
		return "resync", p.Resync, false
	}
	return "", nil, false
}

// Disconnect closes connections with a code of the public contract.
func (g *server) Disconnect(_ context.Context, req *wsgatewayv1.DisconnectRequest) (*wsgatewayv1.DisconnectResponse, error) {
	code := closeCode(req.GetCode())
	if code < notAuthenticated || code > tooMany {
		return nil, fault.InvalidField("code", "4001 to 4008")
	}
	for _, id := range req.GetConnectionIds() {
		if c := g.s.conns.get(chat.ConnectionID(id)); c != nil {
			c.close(code, req.GetReason())
		}
	}
	return &wsgatewayv1.DisconnectResponse{}, nil
}
