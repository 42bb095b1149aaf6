package memory

import (
	"context"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Sessions implements faststate.Sessions. An ended session that is forgotten becomes Unknown, and the database, where
// it has ended too, decides.
type Sessions struct {
	now Clock

	mu      sync.Mutex // guards what follows
	allowed *recent[chat.SessionID, time.Time]
	denied  *recent[chat.SessionID, struct{}]
}

var _ faststate.Sessions = (*Sessions)(nil)

// NewSessions returns an empty list. now decides which sessions have expired.
func NewSessions(cfg Config, now Clock) *Sessions {
	cfg = cfg.withDefaults()
	return &Sessions{
		now:     now,
		allowed: newRecent[chat.SessionID, time.Time](cfg.MaxSessions, nil),
		denied:  newRecent[chat.SessionID, struct{}](cfg.MaxDenied, nil),
	}
}

// Allow implements faststate.Sessions.
func (s *Sessions) Allow(_ context.Context, sessions []faststate.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range sessions {
		if _, no := s.denied.get(x.ID); !no {
			s.allowed.put(x.ID, x.Expires)
		}
	}
	return nil
}

// Deny implements faststate.Sessions.
func (s *Sessions) Deny(_ context.Context, ids []chat.SessionID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.allowed.remove(id)
		s.denied.put(id, struct{}{})
	}
	return nil
}

// Check implements faststate.Sessions.
func (s *Sessions) Check(_ context.Context, ids []chat.SessionID) ([]faststate.SessionState, error) {
	now := s.now()
	states := make([]faststate.SessionState, len(ids))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, id := range ids {
		states[i] = s.check(id, now)
	}
	return states, nil
}

// check returns the state of one session. s.mu is held.
func (s *Sessions) check(id chat.SessionID, now time.Time) faststate.SessionState {
	if expires, ok := s.allowed.get(id); ok {
		if now.Before(expires) {
			return faststate.Allowed
		}
		s.allowed.remove(id)
	}
	if _, ok := s.denied.get(id); ok {
		return faststate.Denied
	}
	return faststate.Unknown
}
