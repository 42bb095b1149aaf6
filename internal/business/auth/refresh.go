package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// rotateTries bounds how often a refresh that was overtaken looks again. Whoever overtook it moved the session on, so
// the second look decides, once the store shows what it answered; more are for a session that is refreshed all the time.
const rotateTries = 8

// pause waits before try number n (the first is 0), 1 ms and twice as long each time.
func pause(ctx context.Context, n int) error {
	if n == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(time.Millisecond << (n - 1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Refresh exchanges a refresh token for a new pair. The current token moves the session on by one generation; the one
// before gives the same pair again for a while (a lost answer, two tabs at once); any other was stolen or is very late,
// and ends the session.
func (s *server) Refresh(ctx context.Context, r *authv1.RefreshRequest) (*authv1.TokenResponse, error) {
	keys, err := s.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	id, generation, err := keys.refresh.Parse(r.GetRefreshToken())
	if err != nil {
		return nil, err
	}
	for try := range rotateTries {
		if err := pause(ctx, try); err != nil {
			return nil, err
		}
		session, err := s.session(ctx, id)
		if err != nil {
			return nil, err
		}
		user, err := s.profile(ctx, session.UserID) // before anything changes
		if err != nil {
			return nil, err
		}
		at := s.now()
		session, err = s.rotate(ctx, session, generation, at)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, err
		}
		resp, err := keys.pair(session, at)
		if err != nil {
			return nil, err
		}
		resp.User = user
		return resp, nil
	}
	return nil, fault.New(fault.Overloaded, "the session is refreshed all the time").After(time.Second)
}

// session returns an open session, or SESSION_ENDED.
func (s *server) session(ctx context.Context, id chat.SessionID) (store.Session, error) {
	open, err := s.deps.Sessions.Get(ctx, []chat.SessionID{id})
	if err != nil {
		return store.Session{}, fmt.Errorf("load session %s: %w", id, err)
	}
	if len(open) == 0 {
		s.metrics.refreshes.WithLabelValues(resultEnded).Inc()
		return store.Session{}, sessionEnded()
	}
	return open[0], nil
}

func sessionEnded() error {
	return fault.New(fault.SessionEnded, "the session has ended; log in again")
}

// rotate returns the session as the pair for a token of the given generation is made from it: moved on at that time, or
// as it is.
func (s *server) rotate(ctx context.Context, session store.Session, generation uint64, at time.Time) (store.Session, error) {
	switch {
	case generation == session.Generation:
		moved, err := s.deps.Sessions.Rotate(ctx, session.ID, generation, at, at.Add(s.cfg.RefreshTTL))
		switch {
		case errors.Is(err, store.ErrNotFound):
			s.metrics.refreshes.WithLabelValues(resultEnded).Inc()
			return moved, sessionEnded()
		case errors.Is(err, store.ErrConflict):
			return moved, err
		case err != nil:
			return moved, fmt.Errorf("refresh session %s: %w", session.ID, err)
		}
		s.metrics.refreshes.WithLabelValues(resultOK).Inc()
		s.allow(ctx, moved)
		return moved, nil
	case generation+1 == session.Generation && at.Sub(session.RefreshedAt) <= s.cfg.RefreshGrace:
		s.metrics.refreshes.WithLabelValues(resultRepeated).Inc()
		return session, nil
	}
	s.metrics.refreshes.WithLabelValues(resultReused).Inc()
	if _, err := s.end(ctx, session.UserID, []store.Session{session}); err != nil {
		return session, err
	}
	return session, fault.New(fault.RefreshReused, "an old refresh token was used; the session has ended")
}
