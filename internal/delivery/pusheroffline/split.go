package pusheroffline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// splitter consumes offline tasks.
func (s *Service) splitter(q backbone.Queue) backbone.Consumer {
	return backbone.Consumer{
		Name: splitterName, Topic: taskTopic, MaxInFlight: s.cfg.Tasks, MaxTries: taskTries, Parked: s.parked(taskName),
		Handle: func(ctx context.Context, t backbone.Task) backbone.Verdict {
			task := &flowv1.OfflineTask{}
			if err := proto.Unmarshal(t.Data, task); err != nil {
				return backbone.Park(fmt.Errorf("no offline task: %w", err))
			}
			if err := s.split(ctx, q, task, t.Stored); err != nil {
				if n, ok := s.quiet.Allow("split"); ok && ctx.Err() == nil {
					s.log.WarnContext(ctx, "an offline task was not split, it comes again",
						"task", task.GetId(), obs.AttemptNo, t.Tries, obs.Err, err, obs.Suppressed, n)
				}
				return backbone.RetryAfter(min(delay(time.Second, t.Tries), time.Minute), err)
			}
			s.m.tasks.Inc()
			return backbone.Done()
		},
	}
}

// ring is an entry that one device is to be told of.
type ring struct {
	entry   *messagev1.Entry
	token   store.PushToken
	expires time.Time
}

// split stores one vendor task per entry and device.
func (s *Service) split(ctx context.Context, q backbone.Queue, task *flowv1.OfflineTask, stored time.Time) error {
	rings, err := s.rings(ctx, task, stored)
	if err != nil || len(rings) == 0 {
		return err
	}
	words, err := s.words(ctx, rings)
	if err != nil {
		return err
	}
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, r := range rings {
		g.Go(func() error { return s.publish(ctx, q, r, words) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s.ringing(rings, began)
	return nil
}

// rings resolves the devices of a task, without those whose vendor is not configured.
func (s *Service) rings(ctx context.Context, task *flowv1.OfflineTask, stored time.Time) ([]ring, error) {
	tokens, err := s.tokensOf(ctx, task)
	if err != nil {
		return nil, err
	}
	var out []ring
	for _, i := range task.GetItems() {
		expires := s.expiry(i.GetEntry(), stored)
		if !time.Now().Before(expires) {
			s.m.expired.Add(float64(len(i.GetUserIds())))
			s.skipped(i, i.GetUserIds(), i.GetDeviceId(), "", expired)
			continue
		}
		out = append(out, s.ringsOf(ctx, i, tokens, expires)...)
	}
	return out, nil
}

// ringsOf resolves the devices of one item.
func (s *Service) ringsOf(ctx context.Context, i *flowv1.OfflineItem, tokens map[chat.UserID][]store.PushToken, expires time.Time) []ring {
	var out []ring
	var without []string // users without a device to ring at
	for _, u := range i.GetUserIds() {
		some := false
		for _, t := range tokens[chat.UserID(u)] {
			p := pushv1.Provider(t.Provider)
			switch {
			case i.GetDeviceId() != "" && chat.DeviceID(i.GetDeviceId()) != t.DeviceID:
				continue
			case s.configured(ctx, p):
				out = append(out, ring{entry: i.GetEntry(), token: t, expires: expires})
			case len(i.GetUserIds()) <= journey.Few:
				s.skipped(i, []string{u}, string(t.DeviceID), providerName(p), notConfigured)
			}
			some = true
		}
		if !some {
			without = append(without, u)
		}
	}
	s.skipped(i, without, i.GetDeviceId(), "", noToken)
	return out
}

func (s *Service) expiry(e *messagev1.Entry, stored time.Time) time.Time {
	if at := e.GetSentAt(); at != nil {
		return at.AsTime().Add(s.cfg.TTL)
	}
	return stored.Add(s.cfg.TTL)
}

// configured ends what has no vendor, with a metric and a line now and then: it is the operator's choice, no failure.
func (s *Service) configured(ctx context.Context, p pushv1.Provider) bool {
	if s.vendors[p] != nil {
		return true
	}
	name := providerName(p)
	s.m.unconfigured.WithLabelValues(name).Inc()
	if n, ok := s.quiet.Allow("unconfigured " + name); ok {
		s.log.WarnContext(ctx, "push vendor is not configured; its notifications are dropped", obs.Vendor, name, obs.Suppressed, n)
	}
	return false
}

func (s *Service) tokensOf(ctx context.Context, task *flowv1.OfflineTask) (map[chat.UserID][]store.PushToken, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	var users []chat.UserID
	for _, i := range task.GetItems() {
		for _, u := range i.GetUserIds() {
			users = append(users, chat.UserID(u))
		}
	}
	slices.Sort(users)
	out := map[chat.UserID][]store.PushToken{}
	for some := range slices.Chunk(slices.Compact(users), chunk) {
		list, err := s.tokens.OfUsers(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("read push tokens of %d users: %w", len(some), err)
		}
		for _, t := range list {
			out[t.UserID] = append(out[t.UserID], t)
		}
	}
	return out, nil
}

// words is what the texts of a task are made of.
type words struct {
	previews map[chat.UserID]userv1.PushPreview
	names    map[string]string // of users
	groups   map[chat.GroupID]string
}

// words asks user and group. Without an answer nothing is sent: what a user wants hidden must not be guessed.
func (s *Service) words(ctx context.Context, rings []ring) (*words, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	w := &words{previews: map[chat.UserID]userv1.PushPreview{}, names: map[string]string{}, groups: map[chat.GroupID]string{}}
	members := map[chat.GroupID]chat.UserID{} // one who may ask for the group's name
	for _, r := range rings {
		w.previews[r.token.UserID] = userv1.PushPreview_PUSH_PREVIEW_NONE
		w.names[r.entry.GetSenderId()] = ""
		if g := chat.ConversationID(r.entry.GetConversationId()).Group(); g != "" {
			members[g] = r.token.UserID
		}
	}
	if err := s.previews(ctx, w); err != nil {
		return nil, err
	}
	if err := s.names(ctx, w); err != nil {
		return nil, err
	}
	for g, u := range members {
		a, err := s.groups.GetMembership(ctx, &groupv1.GetMembershipRequest{GroupId: string(g), UserId: string(u)})
		if err != nil && fault.CodeOf(err) != fault.NotFound {
			return nil, fmt.Errorf("ask for the name of group %s: %w", g, err)
		}
		w.groups[g] = a.GetMembership().GetName()
	}
	return w, nil
}

func (s *Service) previews(ctx context.Context, w *words) error {
	for some := range slices.Chunk(keys(w.previews), chunk) {
		a, err := s.users.GetUserSettings(ctx, &userv1.GetUserSettingsRequest{UserIds: some})
		if err != nil {
			return fmt.Errorf("ask for the settings of %d users: %w", len(some), err)
		}
		for i, set := range a.GetSettings() {
			if i < len(some) {
				w.previews[chat.UserID(some[i])] = set.GetPushPreview()
			}
		}
	}
	return nil
}

func (s *Service) names(ctx context.Context, w *words) error {
	delete(w.names, "")
	for some := range slices.Chunk(keys(w.names), chunk) {
		a, err := s.users.GetProfiles(ctx, &userv1.GetProfilesRequest{UserIds: some})
		if err != nil {
			return fmt.Errorf("ask for the names of %d users: %w", len(some), err)
		}
		for _, u := range a.GetUsers() {
			w.names[u.GetUserId()] = cmp.Or(u.GetNickname(), u.GetUsername())
		}
	}
	return nil
}

func keys[K ~string, V any](m map[K]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return out
}

// publish stores the vendor task of one device. Its id does not name the offline task, so that an entry that was handed
// back, too, or whose run was published twice, rings once.
func (s *Service) publish(ctx context.Context, q backbone.Queue, r ring, w *words) error {
	p := pushv1.Provider(r.token.Provider)
	name := providerName(p)
	entry := cmp.Or(r.entry.GetMessageId(), fmt.Sprintf("%s.%d", r.entry.GetConversationId(), r.entry.GetSeq()))
	id := fmt.Sprintf("v.%s.%s.%s.%s", name, r.token.UserID, r.token.DeviceID, entry)
	title, body := w.text(s.cfg.AppName, r.entry, r.token.UserID)
	data, err := proto.Marshal(&flowv1.VendorTask{
		Schema: schema, Id: id, UserId: string(r.token.UserID), DeviceId: string(r.token.DeviceID), Provider: p,
		ConversationId: r.entry.GetConversationId(), MessageId: r.entry.GetMessageId(), Seq: r.entry.GetSeq(),
		Title: title, Body: body, ExpiresAt: timestamppb.New(r.expires),
	})
	if err != nil {
		return fmt.Errorf("encode vendor task %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	if err := q.Publish(ctx, vendorTopic+name, id, data); err != nil {
		return fmt.Errorf("publish vendor task %s: %w", id, err)
	}
	return nil
}
