package wsgateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/token"
	"github.com/oceanchat/oceanchat/internal/wire"
)

var errClosed = errors.New("the connection closed meanwhile")

// first takes the first request of a connection, which must be connect.
func (c *conn) first(r wire.Request) {
	if r.Method != methodConnect {
		c.refuseConnect(r.ID, fault.New(fault.TokenMissing, "the first request is connect"))
		return
	}
	req := &wirev1.ConnectRequest{}
	if err := c.door.form.Decode(r.Params, req); err != nil {
		c.refuseConnect(r.ID, err)
		return
	}
	c.mu.Lock()
	if c.out.last || !c.advance(fresh, connecting) {
		c.mu.Unlock()
		return
	}
	c.out.hold = true
	c.mu.Unlock()
	c.s.wg.Go(func() { c.connect(r.ID, req) })
}

// connect authenticates, registers and synchronises, in an order that leaves no gap: the connection can be found by its
// session before the allow-list is asked, so a revocation is seen by one or the other; and it is known to presence
// before the sync token is taken, so what is committed after the token is pushed here.
func (c *conn) connect(id wire.ID, req *wirev1.ConnectRequest) {
	defer func() {
		if p := recover(); p != nil {
			c.refuseConnect(id, fmt.Errorf("panic in connect: %v", p))
		}
	}()
	began := time.Now()
	ctx := calls.WithRequestID(c.s.ctx, c.requestID())
	claims, err := c.verify(ctx, req)
	if err != nil {
		c.refuseConnect(id, err)
		return
	}
	end, err := c.turn()
	if err != nil {
		c.refuseConnect(id, err)
		return
	}
	defer end()
	if err := c.authenticate(ctx, claims); err != nil {
		c.refuseConnect(id, err)
		return
	}
	resp, err := c.welcome(calls.WithIdentity(ctx, c.id), req.GetSyncToken())
	if err != nil {
		c.refuseConnect(id, err)
		return
	}
	if err := c.open(id, req.GetAcks(), resp); err != nil {
		c.refuseConnect(id, err)
		return
	}
	c.s.m.connect.Observe(time.Since(began).Seconds())
}

// refuseConnect answers the error, then closes. A failure of ours is no reason for a client to throw its token away: after
// 4001 it refreshes, tries once more and gives up; after 4008 it backs off and comes back.
func (c *conn) refuseConnect(id wire.ID, err error) {
	if errors.Is(err, errClosed) {
		return
	}
	f := fault.Of(err)
	c.s.m.refused.WithLabelValues(string(f.Reason)).Inc()
	c.s.note("connect refused", c, err)
	var answer []byte
	if id.Present() {
		answer = c.encodeError(id, err)
	}
	switch f.Code {
	case fault.Unavailable, fault.Internal, fault.ResourceExhausted:
		c.farewellAfter(answer, tooMany, "the server cannot take the connection now")
	default:
		c.farewellAfter(answer, notAuthenticated, "not authenticated")
	}
}

// verify checks token and device, which asks nobody. Who shows these is none of the unknown ones of its address any more: it
// may wait for its turn without keeping others out.
func (c *conn) verify(ctx context.Context, req *wirev1.ConnectRequest) (token.Claims, error) {
	if req.GetToken() == "" {
		return token.Claims{}, fault.New(fault.TokenMissing, "connect needs an access token")
	}
	claims, err := c.s.deps.Verifier.Verify(ctx, req.GetToken())
	if err != nil {
		return claims, err
	}
	if err := sameDevice(claims, req); err != nil {
		return claims, err
	}
	c.mu.Lock()
	counted := c.counted
	c.counted = false
	c.mu.Unlock()
	if counted {
		c.s.ips.release(c.remote)
	}
	return claims, nil
}

// authenticate makes the connection known by its session, and then checks that.
func (c *conn) authenticate(ctx context.Context, claims token.Claims) error {
	if !c.identify(claims) {
		return errClosed
	}
	return c.s.checkSession(ctx, c.id.SessionID)
}

func sameDevice(claims token.Claims, req *wirev1.ConnectRequest) error {
	var bad []fault.Field
	if chat.DeviceID(req.GetDeviceId()) != claims.DeviceID {
		bad = append(bad, fault.Field{Field: "deviceId", Rule: "the one of the login"})
	}
	if req.GetPlatform() != claims.Platform {
		bad = append(bad, fault.Field{Field: "platform", Rule: "the one of the login"})
	}
	if bad != nil {
		return fault.InvalidFields(bad...)
	}
	return nil
}

// identify says whose connection it is, unless it has ended.
func (c *conn) identify(claims token.Claims) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.last {
		return false
	}
	c.id.UserID, c.id.SessionID = claims.UserID, claims.SessionID
	c.id.DeviceID, c.id.Platform = claims.DeviceID, claims.Platform
	c.s.conns.addSession(c)
	return true
}

// checkSession asks the allow-list, and auth for what the list does not know.
func (s *Service) checkSession(ctx context.Context, id chat.SessionID) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	ended, err := s.endedSessions(ctx, []chat.SessionID{id})
	if err != nil {
		return fault.Wrap(err, fault.SessionStoreDown, "sessions cannot be checked now").After(time.Second)
	}
	if len(ended) > 0 {
		return sessionEnded()
	}
	return nil
}

func sessionEnded() error { return fault.New(fault.SessionEnded, sessionReason) }

// endedSessions returns those of ids that are over.
func (s *Service) endedSessions(ctx context.Context, ids []chat.SessionID) ([]chat.SessionID, error) {
	states, err := s.deps.Sessions.Check(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("check allow-list: %w", err)
	}
	if len(states) != len(ids) {
		return nil, fmt.Errorf("check allow-list: %d answers for %d sessions", len(states), len(ids))
	}
	var ended, unknown []chat.SessionID
	for i, id := range ids {
		switch states[i] {
		case faststate.Denied:
			ended = append(ended, id)
		case faststate.Unknown:
			unknown = append(unknown, id)
		case faststate.Allowed:
		}
	}
	if len(unknown) == 0 {
		return ended, nil
	}
	over, err := s.endedAtAuth(ctx, unknown)
	return append(ended, over...), err
}

// endedAtAuth returns those of ids that are over after auth's database.
func (s *Service) endedAtAuth(ctx context.Context, ids []chat.SessionID) ([]chat.SessionID, error) {
	req := &authv1.CheckSessionsRequest{}
	for _, id := range ids {
		req.SessionIds = append(req.SessionIds, string(id))
	}
	resp, err := s.auth.CheckSessions(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("check %d sessions at auth: %w", len(ids), err)
	}
	open := make(map[string]bool, len(ids))
	for _, id := range resp.GetOpenSessionIds() {
		open[id] = true
	}
	var ended []chat.SessionID
	for _, id := range ids {
		if !open[string(id)] {
			ended = append(ended, id)
		}
	}
	return ended, nil
}

// welcome tells presence, closes what the connection displaces, and reads what the client missed.
func (c *conn) welcome(ctx context.Context, syncToken string) (*wirev1.ConnectResponse, error) {
	if err := c.hello(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.s.cfg.CallTimeout)
	defer cancel()
	sync, err := c.s.query.Sync(ctx, &queryv1.SyncRequest{SyncToken: syncToken})
	if err != nil {
		if resp := c.letIn(syncToken, err); resp != nil {
			return resp, nil
		}
		return nil, err
	}
	c.s.sawEpoch(sync.GetEpoch())
	return &wirev1.ConnectResponse{
		ConnectionId: string(c.id.ConnectionID), UserId: string(c.id.UserID),
		HeartbeatSeconds: int32(max(c.s.cfg.Heartbeat/time.Second, 1)), ServerTime: timestamppb.Now(),
		Epoch: sync.GetEpoch(), Resync: sync.GetResync(), SyncToken: sync.GetSyncToken(),
		Conversations: sync.GetConversations(), NextPageToken: sync.GetNextPageToken(),
	}, nil
}

// hello registers the connection at presence. It counts as registered from before the call: an outcome that is not known
// is followed by the goodbye, and a state that is lost meanwhile by another hello.
func (c *conn) hello(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.s.cfg.CallTimeout)
	defer cancel()
	c.mu.Lock()
	c.said = true
	c.mu.Unlock()
	resp, err := c.s.presence.Hello(ctx, &presencev1.HelloRequest{Connections: []*presencev1.Connection{c.presence()}})
	if c.is(gone) { // its goodbye may have come before this hello
		c.s.goodbyes.add(c.presence())
		return errClosed
	}
	if err != nil {
		return err
	}
	c.s.displace(resp.GetDisplaced())
	return nil
}

// displace closes connections that newer ones replaced, here and at other gateways, without waiting for those.
func (s *Service) displace(old []*presencev1.Connection) {
	elsewhere := map[chat.GatewayID][]string{}
	for _, o := range old {
		if g := chat.GatewayID(o.GetGatewayId()); g != s.id {
			elsewhere[g] = append(elsewhere[g], o.GetConnectionId())
		} else if c := s.conns.get(chat.ConnectionID(o.GetConnectionId())); c != nil {
			c.close(displaced, displacedReason)
		} else {
			s.goodbyes.add(o)
		}
	}
	for g, ids := range elsewhere {
		s.aside.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, displaceLimit)
			defer cancel()
			_, err := wsgatewayv1.NewGatewayServiceClient(s.deps.Net.Gateway(g)).Disconnect(ctx,
				&wsgatewayv1.DisconnectRequest{ConnectionIds: ids, Code: int32(displaced), Reason: displacedReason})
			if err != nil {
				s.failed("displace", "displaced connections not closed; their gateway may be gone", err)
			}
		})
	}
}

// open answers connect and lets go what was held: first the answer, then the pushes that came meanwhile, then the
// requests that did not wait for the answer. It fails if the session ended while connect was at work.
func (c *conn) open(id wire.ID, acks bool, resp *wirev1.ConnectResponse) error {
	var answer []item
	if id.Present() {
		answer = []item{{op: c.door.data, body: c.encodeResult(id, resp)}}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return sessionEnded()
	}
	if c.out.last || !c.advance(connecting, live) {
		return errClosed
	}
	c.out.items = append(answer, c.out.items...)
	for _, it := range answer {
		c.out.bytes += len(it.body) + itemOverhead
	}
	c.out.hold = false
	c.push.opened(acks, c.s.clock())
	c.wake()
	if c.req != nil {
		for n := range laneCount {
			c.startLane(n)
		}
	}
	return nil
}
