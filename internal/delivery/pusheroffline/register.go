package pusheroffline

import (
	"context"
	"fmt"
	"strconv"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// The limits of the public contract, in bytes.
const (
	maxToken    = 4096
	maxAppID    = 256
	maxLanguage = 35
)

// devices answers pushv1.PushService.
type devices struct {
	pushv1.UnimplementedPushServiceServer
	tokens store.PushTokens
	topic  string // the bundle id of the app; empty if not known
}

var _ pushv1.PushServiceServer = (*devices)(nil)

// Register records the token of the caller's device. Another device's id is not found, also when it is the caller's own.
func (d *devices) Register(ctx context.Context, r *pushv1.RegisterRequest) (*pushv1.RegisterResponse, error) {
	me, err := device(ctx, r.GetDeviceId())
	if err != nil {
		return nil, err
	}
	if broken := d.check(r); len(broken) > 0 {
		return nil, fault.InvalidFields(broken...)
	}
	err = d.tokens.Put(ctx, store.PushToken{
		UserID: me.UserID, DeviceID: me.DeviceID, SessionID: me.SessionID, Provider: int32(r.GetProvider()), Token: r.GetToken(), AppID: r.GetAppId(),
		Environment: int32(r.GetEnvironment()), Language: r.GetLanguage(), RegisteredAt: now(),
	})
	if err != nil {
		return nil, fmt.Errorf("store the push token of device %s: %w", me.DeviceID, err)
	}
	return &pushv1.RegisterResponse{}, nil
}

// Unregister removes it; none is no error.
func (d *devices) Unregister(ctx context.Context, r *pushv1.UnregisterRequest) (*pushv1.UnregisterResponse, error) {
	me, err := device(ctx, r.GetDeviceId())
	if err != nil {
		return nil, err
	}
	if err := d.tokens.EndSession(ctx, me.UserID, me.DeviceID, me.SessionID, now()); err != nil {
		return nil, fmt.Errorf("remove the push token of device %s: %w", me.DeviceID, err)
	}
	return &pushv1.UnregisterResponse{}, nil
}

// device returns who calls, if id is the device that it calls from.
func device(ctx context.Context, id string) (calls.Identity, error) {
	me := calls.IdentityOf(ctx)
	if me.UserID == "" {
		return me, fault.New(fault.TokenMissing, "this method needs a session")
	}
	if err := chat.CheckID("deviceId", id); err != nil {
		return me, err
	}
	if chat.DeviceID(id) != me.DeviceID {
		return me, fault.New(fault.NotFoundReason, "this is not the device that you are logged in on")
	}
	return me, nil
}

func (d *devices) check(r *pushv1.RegisterRequest) []fault.Field {
	var broken []fault.Field
	rule := func(ok bool, field, rule string) {
		if !ok {
			broken = append(broken, fault.Field{Field: field, Rule: rule})
		}
	}
	_, known := pushv1.Provider_name[int32(r.GetProvider())]
	rule(known && r.GetProvider() != 0, "provider", "apns, fcm, huawei, honor, xiaomi, oppo, vivo, meizu or webpush")
	fits := len(r.GetToken()) > 0 && len(r.GetToken()) <= maxToken
	rule(fits, "token", "1 to "+strconv.Itoa(maxToken)+" bytes")
	if fits && r.GetProvider() == pushv1.Provider_PROVIDER_WEBPUSH {
		rule(isSubscription(r.GetToken()), "token", subscriptionRule)
	}
	rule(len(r.GetAppId()) <= maxAppID, "appId", "at most "+strconv.Itoa(maxAppID)+" bytes")
	if r.GetProvider() == pushv1.Provider_PROVIDER_APNS && d.topic != "" {
		rule(r.GetAppId() == "" || r.GetAppId() == d.topic, "appId", "the bundle id of the server's app, or empty")
	}
	_, known = pushv1.Environment_name[int32(r.GetEnvironment())]
	rule(known, "environment", "production or sandbox")
	rule(len(r.GetLanguage()) <= maxLanguage, "language", "at most "+strconv.Itoa(maxLanguage)+" bytes")
	return broken
}

// now is the time as it is stored: whole milliseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// logouts consumes the end of sessions: a device that logged out gets no notification any more. One that has logged in
// and registered again since keeps its token: it is the session's id that tells, not the clocks of two processes.
func (s *Service) logouts() backbone.Consumer {
	return backbone.Consumer{
		Name: logoutName, Topic: logoutTopic, MaxInFlight: 4, MaxTries: taskTries, Parked: s.parked("logout"),
		Handle: func(ctx context.Context, t backbone.Task) backbone.Verdict {
			e := &authv1.UserEvent{}
			if err := wire.UnmarshalAnswer(t.Data, e); err != nil {
				return backbone.Park(fmt.Errorf("no event: %w", err))
			}
			if e.GetDeviceId() == "" || e.GetAt() == nil {
				return backbone.Done()
			}
			ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
			defer cancel()
			err := s.tokens.EndSession(ctx, chat.UserID(e.GetUserId()), chat.DeviceID(e.GetDeviceId()), chat.SessionID(e.GetSessionId()), e.GetAt().AsTime())
			if err != nil {
				s.log.WarnContext(ctx, "the tokens of a device that logged out are not removed yet",
					obs.UserID, e.GetUserId(), obs.DeviceID, e.GetDeviceId(), obs.AttemptNo, t.Tries, obs.Err, err)
				return backbone.RetryAfter(delay(time.Second, t.Tries), err)
			}
			s.m.logouts.Inc()
			return backbone.Done()
		},
	}
}
