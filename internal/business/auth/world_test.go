package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "correct horse"

// world is the service on real seams, but for the backbone and the user service, which keep what they are told.
type world struct {
	t        *testing.T
	cfg      auth.Config
	db       *sqlite.DB
	sessions *hookedSessions
	list     *allowList
	users    *users
	bus      *bus
	backbone auth.Backbone // bus, unless a test sets another and restarts
	clock    *clock
	logged   *syncBuffer
	reg      *prometheus.Registry
	svc      *auth.Service
	pub      authv1.AuthServiceClient
	internal authv1.AuthInternalServiceClient
}

func newWorld(t *testing.T, change ...func(*auth.Config)) *world {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	var cfg auth.Config
	if _, err := config.Load(&cfg, config.Sources{}); err != nil {
		t.Fatal(err)
	}
	cfg.HashMemory, cfg.HashTime, cfg.HashQueue = 64<<10, 1, 1000
	for _, c := range change {
		c(&cfg)
	}
	w := &world{
		t: t, cfg: cfg, db: db, users: &users{all: map[string]*userv1.User{}}, bus: &bus{ids: map[string]bool{}},
		clock: &clock{now: time.Now()}, logged: &syncBuffer{},
	}
	w.backbone = w.bus
	w.sessions = &hookedSessions{Sessions: db.Sessions()}
	w.restart()
	return w
}

// restart makes the service anew on the same database, with an empty fast state.
func (w *world) restart() {
	log := obs.NewLogger(w.logged, obs.Text, slog.LevelDebug)
	net := inproc.New(log)
	userv1.RegisterUserInternalServiceServer(net, w.users)
	w.list = &allowList{Sessions: memory.NewSessions(memory.Config{}, w.clock.Now)}
	w.reg = prometheus.NewRegistry()
	w.svc = auth.New(w.cfg, auth.Deps{
		Accounts: w.db.Accounts(), Sessions: w.sessions, Outbox: w.db.Outbox(), Keys: w.db.Keys(), AllowList: w.list,
		Limits: memory.NewLimits(memory.Config{}, w.clock.Now), Cache: memory.NewCache(memory.Config{}, w.clock.Now),
		Users: userv1.NewUserInternalServiceClient(net), Backbone: w.backbone, Now: w.clock.Now,
	}, log, w.reg)
	w.svc.Register(net)
	w.pub, w.internal = authv1.NewAuthServiceClient(net), authv1.NewAuthInternalServiceClient(net)
}

// gauge returns the value of a metric without labels.
func (w *world) gauge(name string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}

// run runs the service until the test ends, or stop is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.svc.Run(ctx, func() {}) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run = %v; want nil", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *world) register(username string) *userv1.User {
	w.t.Helper()
	r, err := w.pub.Register(w.t.Context(), &authv1.RegisterRequest{Username: username, Password: password, Nickname: "N " + username})
	if err != nil {
		w.t.Fatalf("Register(%s) = %v; want nil", username, err)
	}
	return r.GetUser()
}

func (w *world) tryLogin(username, password, device string) (*authv1.TokenResponse, error) {
	return w.pub.Login(w.t.Context(), &authv1.LoginRequest{
		Username: username, Password: password, DeviceId: device, Platform: authv1.Platform_PLATFORM_WEB,
	})
}

func (w *world) login(username, device string) *authv1.TokenResponse {
	w.t.Helper()
	r, err := w.tryLogin(username, password, device)
	if err != nil {
		w.t.Fatalf("Login(%s, %s) = %v; want nil", username, device, err)
	}
	return r
}

func (w *world) refresh(token string) (*authv1.TokenResponse, error) {
	return w.pub.Refresh(w.t.Context(), &authv1.RefreshRequest{RefreshToken: token})
}

func (w *world) verify(access string) error {
	_, err := w.internal.Verify(w.t.Context(), &authv1.VerifyRequest{AccessToken: access})
	return err
}

// as returns a context that acts for the session of a token.
func (w *world) as(r *authv1.TokenResponse) context.Context {
	w.t.Helper()
	v, err := w.internal.Verify(w.t.Context(), &authv1.VerifyRequest{AccessToken: r.GetAccessToken()})
	if err != nil {
		w.t.Fatalf("Verify = %v; want nil", err)
	}
	return calls.WithIdentity(w.t.Context(), calls.Identity{
		UserID: chat.UserID(v.GetUserId()), SessionID: chat.SessionID(v.GetSessionId()),
		DeviceID: chat.DeviceID(v.GetDeviceId()), Platform: v.GetPlatform(),
	})
}

func sessionOf(ctx context.Context) string { return string(calls.IdentityOf(ctx).SessionID) }

func wantReason(t *testing.T, what string, err error, want fault.Reason) {
	t.Helper()
	if got := fault.ReasonOf(err); got != want {
		t.Errorf("%s = %v, reason %q; want %q", what, err, got, want)
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

// clock is moved by hand, and by step at each reading.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	step time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(c.step)
	return c.now
}

func (c *clock) setStep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step = d
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// hookedSessions lets something happen just before a session starts.
type hookedSessions struct {
	store.Sessions
	beforeStart func()
}

func (h *hookedSessions) Start(ctx context.Context, s store.Session, e store.Event) ([]store.Session, error) {
	if h.beforeStart != nil {
		h.beforeStart()
	}
	return h.Sessions.Start(ctx, s, e)
}

// allowList can refuse to deny.
type allowList struct {
	faststate.Sessions
	down atomic.Bool
}

var errDown = errors.New("down")

func (l *allowList) Deny(ctx context.Context, ids []chat.SessionID) error {
	if l.down.Load() {
		return errDown
	}
	return l.Sessions.Deny(ctx, ids)
}

// state returns what the list says of a session.
func (w *world) state(id string) faststate.SessionState {
	w.t.Helper()
	s, err := w.list.Check(w.t.Context(), []chat.SessionID{chat.SessionID(id)})
	if err != nil {
		w.t.Fatal(err)
	}
	return s[0]
}

// users is the user service.
type users struct {
	userv1.UnimplementedUserInternalServiceServer
	mu   sync.Mutex
	all  map[string]*userv1.User
	down bool
}

func (u *users) setDown(down bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down = down
}

func (u *users) nickname(id string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all[id].GetNickname()
}

func (u *users) CreateProfile(_ context.Context, r *userv1.CreateProfileRequest) (*userv1.CreateProfileResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down {
		return nil, fault.New(fault.Overloaded, "down")
	}
	if id := r.GetUser().GetUserId(); u.all[id] == nil {
		u.all[id] = r.GetUser()
	}
	return &userv1.CreateProfileResponse{}, nil
}

func (u *users) GetProfiles(_ context.Context, r *userv1.GetProfilesRequest) (*userv1.GetProfilesResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down {
		return nil, fault.New(fault.Overloaded, "down")
	}
	resp := &userv1.GetProfilesResponse{}
	for _, id := range r.GetUserIds() {
		if p := u.all[id]; p != nil {
			resp.Users = append(resp.Users, p)
		}
	}
	return resp, nil
}

// bus is the backbone: its stream drops what comes twice with the same id.
type bus struct {
	mu      sync.Mutex
	down    bool
	sound   bool // no acknowledgement is lost
	ids     map[string]bool
	events  []*authv1.UserEvent
	topics  []string
	raw     []string
	signals []string
}

func (b *bus) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// Queue implements auth.Backbone.
func (b *bus) Queue(_ context.Context, name backbone.QueueName) (backbone.Queue, error) {
	if name != backbone.Events {
		return nil, errors.New("unexpected queue " + string(name))
	}
	return queue{b}, nil
}

type queue struct{ b *bus }

func (q queue) Consume(context.Context, backbone.Consumer) error { return errors.New("not used") }

// Publish loses the acknowledgement of every second event, unless the bus is sound.
func (q queue) Publish(_ context.Context, topic, id string, data []byte) error {
	b := q.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return errDown
	}
	if b.ids[id] {
		return nil
	}
	b.ids[id] = true
	e := &authv1.UserEvent{}
	if err := wire.UnmarshalAnswer(data, e); err != nil {
		return err
	}
	b.events, b.topics, b.raw = append(b.events, e), append(b.topics, topic), append(b.raw, string(data))
	if len(b.ids)%2 == 0 && !b.sound {
		return errors.New("the acknowledgement was lost")
	}
	return nil
}

func (b *bus) seen() []*authv1.UserEvent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

func (b *bus) ended() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.signals)
}

// Publish implements auth.Backbone.
func (b *bus) Publish(subject string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &flowv1.SessionEnded{}
	if err := proto.Unmarshal(data, m); err != nil || subject != "oc.session.ended" {
		return errors.Join(err, errors.New("unexpected signal on "+subject))
	}
	b.signals = append(b.signals, m.GetSessionIds()...)
	return nil
}
