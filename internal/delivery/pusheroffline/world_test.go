package pusheroffline_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/apns"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/fcm"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	providerAPNs = pushv1.Provider_PROVIDER_APNS
	providerFCM  = pushv1.Provider_PROVIDER_FCM
)

// tokens is store.PushTokens in memory.
type tokens struct {
	mu   sync.Mutex                 // guards all below
	all  map[string]store.PushToken // by user and device
	fail int                        // reads that still fail
}

func key(u chat.UserID, d chat.DeviceID) string { return string(u) + "/" + string(d) }

func (s *tokens) Put(_ context.Context, t store.PushToken) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, o := range s.all {
		if o.Provider == t.Provider && o.AppID == t.AppID && o.Token == t.Token {
			delete(s.all, k)
		}
	}
	s.all[key(t.UserID, t.DeviceID)] = t
	return nil
}

func (s *tokens) Delete(_ context.Context, u chat.UserID, d chat.DeviceID, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.all[key(u, d)]; ok && !t.RegisteredAt.After(before) {
		delete(s.all, key(u, d))
	}
	return nil
}

func (s *tokens) EndSession(_ context.Context, u chat.UserID, d chat.DeviceID, session chat.SessionID, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.all[key(u, d)]
	if ok && (t.SessionID == "" && !t.RegisteredAt.After(before) || t.SessionID != "" && t.SessionID == session) {
		delete(s.all, key(u, d))
	}
	return nil
}

func (s *tokens) OfUsers(_ context.Context, users []chat.UserID) ([]store.PushToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return nil, fault.New(fault.Overloaded, "no database")
	}
	var out []store.PushToken
	for _, u := range users {
		for _, t := range s.all {
			if t.UserID == u {
				out = append(out, t)
			}
		}
	}
	return out, nil
}

func (s *tokens) get(u chat.UserID, d chat.DeviceID) (store.PushToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.all[key(u, d)]
	return t, ok
}

func (s *tokens) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// world is the service with real servers of the vendors, a real backbone, and small fakes of user and group.
type world struct {
	userv1.UnimplementedUserInternalServiceServer
	groupv1.UnimplementedGroupInternalServiceServer

	tokens  *tokens
	apns    *vendortest.APNs
	fcm     *vendortest.FCM
	net     *inproc.Network
	back    *embedded.Server
	reg     *prometheus.Registry
	log     *buffer
	journey *journey.Recorder
	preview map[string]userv1.PushPreview // all, unless it says otherwise
	seq     uint64
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (w *world) GetUserSettings(_ context.Context, r *userv1.GetUserSettingsRequest) (*userv1.GetUserSettingsResponse, error) {
	a := &userv1.GetUserSettingsResponse{}
	for _, u := range r.GetUserIds() {
		p, ok := w.preview[u]
		if !ok {
			p = userv1.PushPreview_PUSH_PREVIEW_ALL
		}
		a.Settings = append(a.Settings, &userv1.Settings{PushPreview: p})
	}
	return a, nil
}

func (w *world) GetProfiles(_ context.Context, r *userv1.GetProfilesRequest) (*userv1.GetProfilesResponse, error) {
	a := &userv1.GetProfilesResponse{}
	for _, u := range r.GetUserIds() {
		a.Users = append(a.Users, &userv1.User{UserId: u, Username: u, Nickname: strings.ToUpper(u[:1]) + u[1:]})
	}
	return a, nil
}

func (w *world) GetMembership(_ context.Context, r *groupv1.GetMembershipRequest) (*groupv1.GetMembershipResponse, error) {
	return &groupv1.GetMembershipResponse{Membership: &groupv1.Membership{GroupId: r.GetGroupId(), Name: "The team"}}, nil
}

// newWorld starts everything; change may alter the configuration first.
func newWorld(t *testing.T, change func(*pusheroffline.Config)) *world {
	t.Helper()
	w := &world{
		tokens: &tokens{all: map[string]store.PushToken{}}, apns: vendortest.NewAPNs(t), fcm: vendortest.NewFCM(t),
		net: inproc.New(slog.New(slog.DiscardHandler)), reg: prometheus.NewPedanticRegistry(), log: &buffer{},
		preview: map[string]userv1.PushPreview{}, journey: journey.New(journey.Config{Events: 1 << 20}, "p"),
	}
	userv1.RegisterUserInternalServiceServer(w.net, w)
	groupv1.RegisterGroupInternalServiceServer(w.net, w)
	w.back = startBackbone(t)
	cfg := pusheroffline.Config{
		TTL: time.Hour, Tries: 5, Tasks: 4, Workers: 8, CallTimeout: 5 * time.Second, Pause: 100 * time.Millisecond, AppName: "OceanChat",
		APNs: apns.Config{
			Endpoint: w.apns.URL, SandboxEndpoint: w.apns.SandboxURL, KeyFile: w.apns.KeyFile, KeyID: w.apns.KeyID,
			TeamID: w.apns.TeamID, Topic: w.apns.Topic, CAFile: w.apns.CAFile, Timeout: 2 * time.Second,
		},
		FCM: fcm.Config{Endpoint: w.fcm.URL, ServiceAccountFile: w.fcm.ServiceAccountFile, CAFile: w.fcm.CAFile, Timeout: 2 * time.Second},
	}
	if change != nil {
		change(&cfg)
	}
	log := obs.NewLogger(w.log, obs.Text, slog.LevelDebug)
	s, err := pusheroffline.New(cfg, pusheroffline.Deps{Backbone: w.back, Network: w.net, Tokens: w.tokens, Journey: w.journey}, log, w.reg)
	if err != nil {
		t.Fatal(err)
	}
	s.Register(w.net)
	runUntilEnd(t, s.Run)
	return w
}

// runUntilEnd runs something until the test ends, and returns when it is ready.
func runUntilEnd(t *testing.T, run func(context.Context, func()) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready := make(chan struct{})
	var g errgroup.Group
	g.Go(func() error { return run(ctx, func() { close(ready) }) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	<-ready
}

func startBackbone(t *testing.T) *embedded.Server {
	t.Helper()
	b, err := embedded.New(embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, b.Run)
	return b
}

// device registers a token "token of user" (in hex, as Apple's are) of device d1.
func (w *world) device(t *testing.T, user string, p pushv1.Provider) string {
	t.Helper()
	token := fmt.Sprintf("%x", "a device token of "+user)
	err := w.tokens.Put(t.Context(), store.PushToken{
		UserID: chat.UserID(user), DeviceID: "d1", Provider: int32(p), Token: token,
		RegisteredAt: time.Now().Add(-time.Hour).Truncate(time.Millisecond),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// text is the next message of a group.
func (w *world) text() *messagev1.Entry {
	w.seq++
	return &messagev1.Entry{
		ConversationId: "g~g", Seq: w.seq, Ordinal: w.seq, MessageId: fmt.Sprintf("m%d", w.seq), SenderId: "ann",
		Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, SentAt: timestamppb.Now(),
		Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: "the plaintext"}},
	}
}

// publish stores an offline task.
func (w *world) publish(t *testing.T, id string, items ...*flowv1.OfflineItem) {
	t.Helper()
	data, err := proto.Marshal(&flowv1.OfflineTask{Schema: 1, Id: id, Items: items})
	if err != nil {
		t.Fatal(err)
	}
	w.enqueue(t, backbone.PushOffline, "task", id, data)
}

func (w *world) enqueue(t *testing.T, queue backbone.QueueName, topic, id string, data []byte) {
	t.Helper()
	q, err := w.back.Queue(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context(), topic, id, data); err != nil {
		t.Fatal(err)
	}
}

func to(e *messagev1.Entry, users ...string) *flowv1.OfflineItem {
	return &flowv1.OfflineItem{Entry: e, UserIds: users}
}

// metric returns the sum of a counter over those of its labels that contain each of values.
func (w *world) metric(t *testing.T, name string, values ...string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != "oceanchat_pusher_offline_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels, ok := fmt.Sprint(m.GetLabel()), true
			for _, v := range values {
				ok = ok && strings.Contains(labels, `"`+v+`"`)
			}
			if ok {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
