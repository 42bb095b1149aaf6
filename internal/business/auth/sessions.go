package auth

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// endedSubject is the signal on which every ws-gateway hears which sessions are over.
const endedSubject = "oc.session.ended"

// flowSchema is the version of flow.v1 messages that this code writes.
const flowSchema = 1

// tellWithin bounds what follows a stored change, which goes on when the caller has gone away.
const tellWithin = 3 * time.Second

// Logout ends the caller's session everywhere. Repeating it is no error.
func (s *server) Logout(ctx context.Context, _ *authv1.LogoutRequest) (*authv1.LogoutResponse, error) {
	id, err := me(ctx)
	if err != nil {
		return nil, err
	}
	own := store.Session{UserID: id.UserID, ID: id.SessionID, DeviceID: id.DeviceID, Platform: int32(id.Platform)}
	_, err = s.end(ctx, id.UserID, []store.Session{own})
	return &authv1.LogoutResponse{}, err
}

// RevokeSession ends one of the caller's sessions; somebody else's is not there.
func (s *server) RevokeSession(ctx context.Context, r *authv1.RevokeSessionRequest) (*authv1.RevokeSessionResponse, error) {
	id, err := me(ctx)
	if err != nil {
		return nil, err
	}
	if err := chat.CheckID("sessionId", r.GetSessionId()); err != nil {
		return nil, err
	}
	open, err := s.deps.Sessions.Get(ctx, []chat.SessionID{chat.SessionID(r.GetSessionId())})
	if err != nil {
		return nil, fmt.Errorf("load session %s: %w", r.GetSessionId(), err)
	}
	open = slices.DeleteFunc(open, func(o store.Session) bool { return o.UserID != id.UserID })
	ended, err := s.end(ctx, id.UserID, open)
	if err != nil {
		return nil, err
	}
	if ended == 0 {
		return nil, fault.New(fault.NotFoundReason, "there is no session %s", r.GetSessionId())
	}
	return &authv1.RevokeSessionResponse{}, nil
}

// ListSessions returns the caller's open sessions, newest first.
func (s *server) ListSessions(ctx context.Context, r *authv1.ListSessionsRequest) (*authv1.ListSessionsResponse, error) {
	id, err := me(ctx)
	if err != nil {
		return nil, err
	}
	var b broken
	size, cursor := b.page(r.PageSize, r.GetPageToken())
	after := b.position(cursor)
	if err := b.err(); err != nil {
		return nil, err
	}
	open, err := s.deps.Sessions.OfUser(ctx, id.UserID)
	if err != nil {
		return nil, fmt.Errorf("load sessions of user %s: %w", id.UserID, err)
	}
	slices.SortFunc(open, func(a, b store.Session) int { return positionOf(a).compare(positionOf(b)) })
	if cursor != "" {
		open = slices.DeleteFunc(open, func(o store.Session) bool { return positionOf(o).compare(after) <= 0 })
	}
	resp := &authv1.ListSessionsResponse{}
	if len(open) > size {
		open = open[:size]
		resp.NextPageToken = pageToken(positionOf(open[size-1]).String())
	}
	for _, o := range open {
		resp.Sessions = append(resp.Sessions, &authv1.Session{
			SessionId: string(o.ID), DeviceId: string(o.DeviceID), Platform: authv1.Platform(o.Platform),
			CreatedAt: timestamppb.New(o.CreatedAt), RefreshedAt: timestamppb.New(o.RefreshedAt), Current: o.ID == id.SessionID,
		})
	}
	return resp, nil
}

// position is a place in a list of sessions, newest first.
type position struct {
	millis int64
	id     string
}

func positionOf(s store.Session) position { return position{s.CreatedAt.UnixMilli(), string(s.ID)} }

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(q.millis, p.millis), cmp.Compare(p.id, q.id))
}

// String returns p as a cursor.
func (p position) String() string { return strconv.FormatInt(p.millis, 10) + "." + p.id }

// position reads a cursor.
func (b *broken) position(cursor string) position {
	if cursor == "" {
		return position{}
	}
	millis, id, _ := strings.Cut(cursor, ".")
	n, err := strconv.ParseInt(millis, 10, 64)
	if err != nil || !chat.ValidID(id) {
		b.badToken()
	}
	return position{n, id}
}

// end ends sessions of one user, each with its event, tells the gateways, and returns how many were open. What is not
// told because of a failure, the relay tells before it publishes the events.
func (s *server) end(ctx context.Context, u chat.UserID, sessions []store.Session) (int, error) {
	if len(sessions) == 0 {
		return 0, nil
	}
	at := s.now()
	events := make([]store.Event, len(sessions))
	for i, o := range sessions {
		e, err := newEvent(loggedOut, o, at, stored{})
		if err != nil {
			return 0, err
		}
		events[i] = e
	}
	ended, err := s.deps.Sessions.End(ctx, u, idsOf(sessions), events)
	if err != nil {
		return 0, fmt.Errorf("end %d sessions of user %s: %w", len(sessions), u, err)
	}
	s.tellOrWarn(ctx, idsOf(ended))
	s.changed()
	return len(ended), nil
}

// endOthers ends the sessions of a user but one, those for which also says so.
func (s *server) endOthers(ctx context.Context, u chat.UserID, keep chat.SessionID, also func(store.Session) bool) error {
	open, err := s.deps.Sessions.OfUser(ctx, u)
	if err != nil {
		return fmt.Errorf("load sessions of user %s: %w", u, err)
	}
	others := slices.DeleteFunc(open, func(o store.Session) bool { return o.ID == keep || !also(o) })
	_, err = s.end(ctx, u, others)
	return err
}

func idsOf(sessions []store.Session) []chat.SessionID {
	ids := make([]chat.SessionID, len(sessions))
	for i, s := range sessions {
		ids[i] = s.ID
	}
	return ids
}

// tell takes sessions off the allow-list and has the gateways close their connections. The signal may be lost; then the
// gateways find out when they check their sessions anew.
func (s *server) tell(ctx context.Context, ids []chat.SessionID) error {
	if err := s.deps.AllowList.Deny(ctx, ids); err != nil {
		return fmt.Errorf("deny %d sessions: %w", len(ids), err)
	}
	signal := &flowv1.SessionEnded{Schema: flowSchema}
	for _, id := range ids {
		signal.SessionIds = append(signal.SessionIds, string(id))
	}
	data, err := proto.Marshal(signal)
	if err != nil {
		return fmt.Errorf("encode signal: %w", err)
	}
	if err := s.deps.Backbone.Publish(endedSubject, data); err != nil {
		return fmt.Errorf("signal that %d sessions ended: %w", len(ids), err)
	}
	return nil
}

// tellOrWarn is tell for sessions that the database has ended already.
func (s *server) tellOrWarn(ctx context.Context, ids []chat.SessionID) {
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellWithin)
	defer cancel()
	if err := s.tell(ctx, ids); err != nil {
		s.log.WarnContext(ctx, "gateways could not be told that sessions ended", obs.Err, err, "sessions", len(ids))
	}
}

// allow puts a session on the allow-list. If that fails the gateways ask CheckSessions, which repeats it.
func (s *server) allow(ctx context.Context, o store.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellWithin)
	defer cancel()
	if err := s.deps.AllowList.Allow(ctx, []faststate.Session{allowed(o)}); err != nil {
		s.log.WarnContext(ctx, "a session could not be put on the allow-list", obs.SessionID, o.ID, obs.Err, err)
	}
}

func allowed(o store.Session) faststate.Session {
	return faststate.Session{ID: o.ID, UserID: o.UserID, Expires: o.ExpiresAt}
}
