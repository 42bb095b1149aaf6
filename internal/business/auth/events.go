package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// The types of events: the last word of their subject, auth.event.user.<type>.
const (
	registered      = "registered"
	loggedIn        = "loggedIn"
	loggedOut       = "loggedOut"
	passwordChanged = "passwordChanged"
)

// stored is an event as it lies in the outbox: what is published, and what only auth needs to complete the change.
type stored struct {
	Event    json.RawMessage `json:"event"`
	Username string          `json:"username,omitempty"` // of registered
	Nickname string          `json:"nickname,omitempty"` // of registered
}

// newEvent returns an event about a session; for registered only s.UserID is set.
func newEvent(kind string, s store.Session, at time.Time, extra stored) (store.Event, error) {
	e := &authv1.UserEvent{
		EventId: chat.NewID(), Type: kind, At: timestamppb.New(at),
		UserId: string(s.UserID), SessionId: string(s.ID), DeviceId: string(s.DeviceID), Platform: authv1.Platform(s.Platform),
	}
	body, err := wire.MarshalJSON(e)
	if err != nil {
		return store.Event{}, fmt.Errorf("encode event %s: %w", kind, err)
	}
	extra.Event = body
	data, err := json.Marshal(extra)
	if err != nil {
		return store.Event{}, fmt.Errorf("encode event %s: %w", kind, err)
	}
	return store.Event{ID: e.GetEventId(), Subject: backbone.Events.Prefix() + "user." + kind, Data: data}, nil
}

// open reads an event from the outbox.
func open(e store.Event) (stored, *authv1.UserEvent, error) {
	var s stored
	if err := json.Unmarshal(e.Data, &s); err != nil {
		return s, nil, fmt.Errorf("decode event %s: %w", e.ID, err)
	}
	event := &authv1.UserEvent{}
	if err := wire.UnmarshalAnswer(s.Event, event); err != nil {
		return s, nil, fmt.Errorf("decode event %s: %w", e.ID, err)
	}
	return s, event, nil
}

// settle does what a change entails beyond the database, before its event is published. The handler of the change has
// usually done it already; this is for the one that was cut off between, so each part may be done again.
func (s *server) settle(ctx context.Context, extra stored, e *authv1.UserEvent) error {
	user := chat.UserID(e.GetUserId())
	switch e.GetType() {
	case registered:
		err := s.createProfile(ctx, &userv1.User{UserId: e.GetUserId(), Username: extra.Username, Nickname: extra.Nickname})
		if fault.IsReason(err, fault.UsernameTaken) {
			// Only data that was damaged comes here; trying again would hold up all other events for ever.
			s.log.ErrorContext(ctx, "the username of an account is another profile's", obs.UserID, e.GetUserId(), obs.Err, err)
			return nil
		}
		return err
	case loggedOut:
		return s.tell(ctx, []chat.SessionID{chat.SessionID(e.GetSessionId())})
	case passwordChanged:
		at := e.GetAt().AsTime()
		return s.endOthers(ctx, user, chat.SessionID(e.GetSessionId()), func(o store.Session) bool {
			return o.CreatedAt.Before(at) // what came later came with the new password
		})
	}
	return nil
}
