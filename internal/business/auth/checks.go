package auth

import (
	"context"
	"fmt"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// checks answers authv1.AuthInternalService: what gateways ask (AUTH-3).
type checks struct {
	authv1.UnimplementedAuthInternalServiceServer
	s *server
}

var _ authv1.AuthInternalServiceServer = (*checks)(nil)

// Verify checks an access token and its session.
func (c *checks) Verify(ctx context.Context, r *authv1.VerifyRequest) (*authv1.VerifyResponse, error) {
	claims, err := c.s.verifier.Verify(ctx, r.GetAccessToken())
	if err != nil {
		return nil, err
	}
	open, err := c.isOpen(ctx, claims.SessionID)
	if err != nil {
		return nil, err
	}
	if !open {
		return nil, sessionEnded()
	}
	return &authv1.VerifyResponse{
		UserId: string(claims.UserID), SessionId: string(claims.SessionID), DeviceId: string(claims.DeviceID), Platform: claims.Platform,
	}, nil
}

// isOpen asks the allow-list, and the database for what that does not know.
func (c *checks) isOpen(ctx context.Context, id chat.SessionID) (bool, error) {
	states, err := c.s.deps.AllowList.Check(ctx, []chat.SessionID{id})
	if err != nil {
		return false, storeDown(err)
	}
	switch states[0] {
	case faststate.Allowed:
		return true, nil
	case faststate.Denied:
		return false, nil
	case faststate.Unknown:
	}
	open, err := c.restore(ctx, []chat.SessionID{id})
	return len(open) > 0, err
}

// maxCheck bounds one CheckSessions.
const maxCheck = 10_000

// CheckSessions says which sessions are open, after the database.
func (c *checks) CheckSessions(ctx context.Context, r *authv1.CheckSessionsRequest) (*authv1.CheckSessionsResponse, error) {
	if len(r.GetSessionIds()) > maxCheck {
		return nil, fault.InvalidField("sessionIds", fmt.Sprintf("at most %d", maxCheck))
	}
	ids := make([]chat.SessionID, len(r.GetSessionIds()))
	for i, id := range r.GetSessionIds() {
		ids[i] = chat.SessionID(id)
	}
	open, err := c.restore(ctx, ids)
	if err != nil {
		return nil, err
	}
	resp := &authv1.CheckSessionsResponse{}
	for _, o := range open {
		resp.OpenSessionIds = append(resp.OpenSessionIds, string(o.ID))
	}
	return resp, nil
}

// restore returns the sessions that are open and puts them on the allow-list again. One that ends between the two
// steps was denied before or is denied after, and what was denied stays off the list.
func (c *checks) restore(ctx context.Context, ids []chat.SessionID) ([]faststate.Session, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := c.s.deps.Sessions.Get(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("load %d sessions: %w", len(ids), err)
	}
	open := make([]faststate.Session, len(found))
	for i, o := range found {
		open[i] = allowed(o)
	}
	if len(open) == 0 {
		return nil, nil
	}
	if err := c.s.deps.AllowList.Allow(ctx, open); err != nil {
		return nil, storeDown(err)
	}
	return open, nil
}

// GetKeys returns the public keys as a JWK set.
func (c *checks) GetKeys(ctx context.Context, _ *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	jwks, err := c.s.publicKeys(ctx)
	if err != nil {
		return nil, err
	}
	return &authv1.GetKeysResponse{Jwks: jwks}, nil
}
