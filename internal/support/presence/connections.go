package presence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// maxBatch is the most connections that one Hello or Goodbye takes.
const maxBatch = 1000

// Hello records connections and returns those that must be closed: of each device the older one, and of a user with
// too many devices the oldest. They are recorded no longer, so nothing is pushed to them, whether or not their gateway
// learns of it. Now and then that is one of the connections in r: a device's old one, registered again late.
func (s *Service) Hello(ctx context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
	conns, err := fromProto(r.GetConnections(), time.Now())
	if err != nil {
		return nil, err
	}
	others, err := s.d.State.Put(ctx, conns)
	if err != nil {
		return nil, fmt.Errorf("record connections: %w", err)
	}
	var out []faststate.Conn
	for i, c := range conns {
		out = s.displaced(out, c, others[i])
	}
	s.m.hellos.Add(float64(len(conns)))
	s.m.displaced.Add(float64(len(out)))
	if len(out) > 0 {
		// Should this fail they are still told to go, and their goodbyes remove them.
		if _, err := s.d.State.Remove(ctx, out, time.Now()); err != nil {
			s.log.WarnContext(ctx, "displaced connections not removed", "connections", len(out), obs.Err, err)
		}
	}
	return &presencev1.HelloResponse{Displaced: toProto(out)}, nil
}

// displaced appends to out whom c displaces among the other connections of its user, or c itself.
func (s *Service) displaced(out []faststate.Conn, c faststate.Conn, others []faststate.Conn) []faststate.Conn {
	devices := []faststate.Conn{c}
	for _, o := range others {
		switch {
		case o.DeviceID != c.DeviceID:
			devices = append(devices, o)
		case o.Outlives(c):
			return add(out, c)
		default:
			out = add(out, o)
		}
	}
	slices.SortFunc(devices, newestFirst)
	for _, o := range devices[min(s.cfg.MaxDevices, len(devices)):] {
		out = add(out, o)
	}
	return out
}

func newestFirst(a, b faststate.Conn) int {
	return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.GatewayID, b.GatewayID), cmp.Compare(a.ConnectionID, b.ConnectionID))
}

// add appends c unless it is there already.
func add(out []faststate.Conn, c faststate.Conn) []faststate.Conn {
	for _, o := range out {
		if o.GatewayID == c.GatewayID && o.ConnectionID == c.ConnectionID {
			return out
		}
	}
	return append(out, c)
}

// Goodbye removes connections that are still recorded as they are named.
func (s *Service) Goodbye(ctx context.Context, r *presencev1.GoodbyeRequest) (*presencev1.GoodbyeResponse, error) {
	conns, err := fromProto(r.GetConnections(), time.Time{})
	if err != nil {
		return nil, err
	}
	if _, err := s.d.State.Remove(ctx, conns, time.Now()); err != nil {
		return nil, fmt.Errorf("remove connections: %w", err)
	}
	return &presencev1.GoodbyeResponse{}, nil
}

// Renew keeps a gateway's lease alive for another Config.Lease.
func (s *Service) Renew(ctx context.Context, r *presencev1.RenewRequest) (*presencev1.RenewResponse, error) {
	if err := chat.CheckID("gatewayId", r.GetGatewayId()); err != nil {
		return nil, err
	}
	known, err := s.d.State.Renew(ctx, chat.GatewayID(r.GetGatewayId()), time.Now().Add(s.cfg.Lease))
	if err != nil {
		return nil, fmt.Errorf("renew lease of gateway %s: %w", r.GetGatewayId(), err)
	}
	if !known {
		s.m.unknown.Inc()
	}
	return &presencev1.RenewResponse{Known: known}, nil
}

// Lookup returns the connections of users, in one round trip to the fast state. How many users it takes is for the
// pipeline, its only caller, to bound.
func (s *Service) Lookup(ctx context.Context, r *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	users := make([]chat.UserID, len(r.GetUserIds()))
	for i, id := range r.GetUserIds() {
		users[i] = chat.UserID(id)
	}
	conns, err := s.d.State.Lookup(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("look up %d users: %w", len(users), err)
	}
	s.m.lookups.Add(float64(len(users)))
	s.m.found.Add(float64(len(conns)))
	return &presencev1.LookupResponse{Connections: toProto(conns)}, nil
}

// fromProto returns connections, begun now where they do not say, or INVALID_FIELD.
func fromProto(in []*presencev1.Connection, now time.Time) ([]faststate.Conn, error) {
	if len(in) > maxBatch {
		return nil, fault.InvalidField("connections", fmt.Sprintf("at most %d", maxBatch))
	}
	out := make([]faststate.Conn, len(in))
	for i, c := range in {
		if err := checkConn(c); err != nil {
			return nil, err
		}
		out[i] = connOf(c, now)
	}
	return out, nil
}

func checkConn(c *presencev1.Connection) error {
	return cmp.Or(
		chat.CheckID("userId", c.GetUserId()), chat.CheckID("deviceId", c.GetDeviceId()),
		chat.CheckID("gatewayId", c.GetGatewayId()), chat.CheckID("connectionId", c.GetConnectionId()),
	)
}

func connOf(c *presencev1.Connection, now time.Time) faststate.Conn {
	conn := faststate.Conn{
		UserID: chat.UserID(c.GetUserId()), DeviceID: chat.DeviceID(c.GetDeviceId()), SessionID: chat.SessionID(c.GetSessionId()),
		GatewayID: chat.GatewayID(c.GetGatewayId()), ConnectionID: chat.ConnectionID(c.GetConnectionId()),
		Platform: int32(c.GetPlatform()), Status: faststate.Online, Since: now,
	}
	if c.GetStatus() == presencev1.Status_STATUS_AWAY {
		conn.Status = faststate.Away
	}
	if c.GetSince() != nil {
		conn.Since = c.GetSince().AsTime()
	}
	return conn
}

func toProto(conns []faststate.Conn) []*presencev1.Connection {
	out := make([]*presencev1.Connection, len(conns))
	for i, c := range conns {
		out[i] = &presencev1.Connection{
			UserId: string(c.UserID), DeviceId: string(c.DeviceID), SessionId: string(c.SessionID),
			GatewayId: string(c.GatewayID), ConnectionId: string(c.ConnectionID),
			Platform: authv1.Platform(c.Platform), Status: statusOf(c.Status), Since: timestamppb.New(c.Since),
		}
	}
	return out
}

func statusOf(s faststate.Status) presencev1.Status {
	if s == faststate.Away {
		return presencev1.Status_STATUS_AWAY
	}
	return presencev1.Status_STATUS_ONLINE
}
