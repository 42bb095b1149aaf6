package pusheroffline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// vendor works off the queue of one push service. It shares nothing with another but the store and the log.
type vendor struct {
	s        *Service
	provider pushv1.Provider
	name     string
	adapter  adapter
	breaker  *breaker
	guard    guard
}

func newVendor(s *Service, p pushv1.Provider, a adapter) *vendor {
	open := s.m.breaker.WithLabelValues(a.Name())
	return &vendor{
		s: s, provider: p, name: a.Name(), adapter: a,
		breaker: newBreaker(s.cfg.Pause, func(yes bool) {
			open.Set(0)
			if yes {
				open.Set(1)
			}
		}),
	}
}

func (v *vendor) close() { _ = v.adapter.Close() }

func (v *vendor) consumer() backbone.Consumer {
	return backbone.Consumer{
		Name: vendorName + v.name, Topic: vendorTopic + v.name, MaxInFlight: v.s.cfg.Workers, MaxTries: v.s.cfg.Tries,
		Handle: v.handle, Parked: v.s.parked(v.name),
	}
}

// handle sends one notification. While the breaker is open it waits, as do all its like: the task keeps its place, and
// the tries of the vendor meanwhile are none of its own. So an outage gives nothing up before its time.
func (v *vendor) handle(ctx context.Context, t backbone.Task) backbone.Verdict {
	task := &flowv1.VendorTask{}
	if err := proto.Unmarshal(t.Data, task); err != nil {
		return backbone.Park(fmt.Errorf("no vendor task: %w", err))
	}
	for {
		if err := v.breaker.enter(ctx); err != nil {
			return backbone.RetryAfter(0, err)
		}
		token, verdict, ok := v.ready(ctx, t, task)
		if !ok {
			v.breaker.give()
			return verdict
		}
		o, ended := v.send(ctx, t, task, token)
		if ended {
			return backbone.RetryAfter(0, ctx.Err())
		}
		verdict = v.judge(ctx, t, task, token, o)
		timed := o.Class == vendorapi.Throttled || o.Class == vendorapi.AuthExpired // says itself when to come again
		if verdict.Act != backbone.ActRetry || timed || !v.breaker.isOpen() {
			return verdict
		}
	}
}

// send asks the vendor once, and tells the breaker. ended says that ctx cut it off: the outcome says nothing of the vendor then.
func (v *vendor) send(ctx context.Context, t backbone.Task, task *flowv1.VendorTask, token store.PushToken) (o vendorapi.Outcome, ended bool) {
	began := time.Now()
	o = v.adapter.Send(ctx, []vendorapi.Item{item(v.name, token, task)})[0]
	if ctx.Err() != nil && o.Class == vendorapi.Transient {
		v.breaker.give()
		return o, true
	}
	v.s.m.took.WithLabelValues(v.name).Observe(time.Since(began).Seconds())
	v.s.m.outcomes.WithLabelValues(v.name, o.Class.String()).Inc()
	v.outcome(task, journey.Answered, told(o))
	v.s.deps.Trace.Passed(ctx, v.s.log, "offline push "+v.name, task.GetMessageId(), began)
	v.breaker.leave(o.Class == vendorapi.Transient || o.Class == vendorapi.Misconfigured)
	if o.Class == vendorapi.Accepted && !t.Stored.IsZero() {
		v.s.m.age.WithLabelValues(v.name).Observe(time.Since(t.Stored).Seconds())
	}
	return o, false
}

// ready returns the device's token as it is now. Without one, or too late, the task is over.
func (v *vendor) ready(ctx context.Context, t backbone.Task, task *flowv1.VendorTask) (store.PushToken, backbone.Verdict, bool) {
	if !time.Now().Before(task.GetExpiresAt().AsTime()) {
		v.s.m.expired.Inc()
		v.outcome(task, journey.Skipped, expired)
		return store.PushToken{}, backbone.Done(), false
	}
	token, ok, err := v.token(ctx, task)
	switch {
	case err != nil:
		return token, backbone.RetryAfter(delay(time.Second, t.Tries), err), false
	case !ok:
		v.s.m.noToken.Inc()
		v.outcome(task, journey.Skipped, noToken)
		return token, backbone.Done(), false
	}
	return token, backbone.Verdict{}, true
}

func (v *vendor) token(ctx context.Context, task *flowv1.VendorTask) (store.PushToken, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, v.s.cfg.CallTimeout)
	defer cancel()
	list, err := v.s.tokens.OfUsers(ctx, []chat.UserID{chat.UserID(task.GetUserId())})
	if err != nil {
		return store.PushToken{}, false, fmt.Errorf("read push tokens of %s: %w", task.GetUserId(), err)
	}
	for _, t := range list {
		if t.DeviceID == chat.DeviceID(task.GetDeviceId()) && pushv1.Provider(t.Provider) == v.provider {
			return t, true, nil
		}
	}
	return store.PushToken{}, false, nil
}

// item is what the adapter gets. The message's id as CollapseID makes a repetition, whose first try may have arrived
// without an answer, replace what is on the screen.
func item(vendor string, t store.PushToken, task *flowv1.VendorTask) vendorapi.Item {
	env := vendorapi.Production
	if pushv1.Environment(t.Environment) == pushv1.Environment_ENVIRONMENT_SANDBOX {
		env = vendorapi.Sandbox
	}
	return vendorapi.Item{
		Target: vendorapi.Target{
			Provider: vendor, Token: t.Token, AppID: t.AppID, Environment: env, Language: t.Language,
			UserID: t.UserID, DeviceID: t.DeviceID, RegisteredAt: t.RegisteredAt,
		},
		Notification: vendorapi.Notification{
			PushID: pushID(task.GetId()), DedupeID: task.GetId(), CollapseID: task.GetMessageId(),
			ConversationID: chat.ConversationID(task.GetConversationId()), MessageID: task.GetMessageId(), Seq: task.GetSeq(),
			Title: task.GetTitle(), Body: task.GetBody(), Expires: task.GetExpiresAt().AsTime(),
		},
	}
}

// pushID is a UUID that is the same on each try.
func pushID(id string) string {
	h := sha256.Sum256([]byte(id))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8: of our own making
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

var errMassDeletion = errors.New("the vendor calls nearly all tokens dead and accepts none: most likely our set-up is wrong")

// judge does what an outcome demands.
func (v *vendor) judge(ctx context.Context, t backbone.Task, task *flowv1.VendorTask, token store.PushToken, o vendorapi.Outcome) backbone.Verdict {
	switch o.Class {
	case vendorapi.Accepted:
		v.guard.accepted()
		v.moved(ctx, token, o)
		return backbone.Done()
	case vendorapi.TokenDead:
		return v.bury(ctx, t, token, o, item(v.name, token, task).Target)
	case vendorapi.Throttled, vendorapi.Transient, vendorapi.AuthExpired:
		return v.later(t, task, o)
	case vendorapi.QuotaDay:
		v.breaker.trip(untilTomorrow(time.Now()))
		return backbone.RetryAfter(time.Second, o.Err)
	case vendorapi.Misconfigured:
		v.broken(ctx, o.Err)
		return backbone.RetryAfter(time.Second, o.Err)
	case vendorapi.Rejected:
		return backbone.Park(fmt.Errorf("%s refused it: %s: %w", v.name, o.VendorCode, o.Err))
	}
	return backbone.Park(fmt.Errorf("%s: unknown outcome %s: %w", v.name, o.Class, o.Err))
}

// broken opens the breaker and calls for the operator. No token is touched.
func (v *vendor) broken(ctx context.Context, err error) {
	v.breaker.trip(v.s.cfg.Pause)
	if n, ok := v.s.quiet.Allow("broken " + v.name); ok {
		v.s.log.ErrorContext(ctx, "push vendor refuses our set-up; it is left alone for a while",
			obs.Vendor, v.name, "pause", v.s.cfg.Pause, obs.Err, err, obs.Suppressed, n)
	}
}

// later says when the task comes again: not before the vendor wants it, and never past its expiry.
func (v *vendor) later(t backbone.Task, task *flowv1.VendorTask, o vendorapi.Outcome) backbone.Verdict {
	caps := v.adapter.Caps()
	if o.MaybeSent && !caps.Replace {
		return backbone.Park(fmt.Errorf("%s may have got it, and a repetition would ring twice: %w", v.name, o.Err))
	}
	backoff := max(delay(caps.Backoff, t.Tries), time.Millisecond)
	wait := max(o.RetryAfter, rand.N(backoff)+1) //nolint:gosec // jitter
	if time.Now().Add(wait).After(task.GetExpiresAt().AsTime()) {
		return backbone.Park(fmt.Errorf("%s: %s, and it expires before the next try: %w", v.name, o.Class, o.Err))
	}
	return backbone.RetryAfter(wait, o.Err)
}

// bury deletes a dead token, unless too many die at once or it was registered again since.
func (v *vendor) bury(ctx context.Context, t backbone.Task, token store.PushToken, o vendorapi.Outcome, target vendorapi.Target) backbone.Verdict {
	if !v.guard.dead() {
		v.broken(ctx, errMassDeletion)
		return backbone.RetryAfter(time.Second, errMassDeletion)
	}
	if !o.Kills(target) { // the client has a living token by now, for the next message
		return backbone.Done()
	}
	ctx, cancel := context.WithTimeout(ctx, v.s.cfg.CallTimeout)
	defer cancel()
	if err := v.s.tokens.Delete(ctx, token.UserID, token.DeviceID, o.DeadAt); err != nil {
		return backbone.RetryAfter(delay(time.Second, t.Tries), fmt.Errorf("delete dead token: %w", err))
	}
	v.s.m.deleted.WithLabelValues(v.name).Inc()
	v.s.log.InfoContext(ctx, "a push token is dead and was removed", obs.Vendor, v.name, "target", target, "code", o.VendorCode)
	return backbone.Done()
}

// moved stores the environment that a token turned out to belong to. It is a help for the next time, so a failure is
// no more than that; a token that was registered meanwhile stays as it is.
func (v *vendor) moved(ctx context.Context, token store.PushToken, o vendorapi.Outcome) {
	env := pushv1.Environment_ENVIRONMENT_PRODUCTION
	switch o.Environment {
	case "":
		return
	case vendorapi.Sandbox:
		env = pushv1.Environment_ENVIRONMENT_SANDBOX
	case vendorapi.Production:
	}
	now, ok, err := v.token(ctx, &flowv1.VendorTask{UserId: string(token.UserID), DeviceId: string(token.DeviceID)})
	if err == nil && ok && now.Token == token.Token && now.RegisteredAt.Equal(token.RegisteredAt) {
		now.Environment = int32(env)
		err = v.s.tokens.Put(ctx, now)
	}
	if err != nil {
		v.s.log.WarnContext(ctx, "environment of a push token not stored", obs.Vendor, v.name, obs.Err, err)
	}
}

// untilTomorrow is the time to midnight in China, where the vendors that have a daily allowance count it.
func untilTomorrow(now time.Time) time.Duration {
	local := now.In(time.FixedZone("GMT+8", 8*3600))
	y, m, d := local.Date()
	return time.Date(y, m, d+1, 0, 1, 0, 0, local.Location()).Sub(now)
}
