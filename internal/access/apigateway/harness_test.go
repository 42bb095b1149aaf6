package apigateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/access/apigateway"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/token"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a gateway behind a real HTTP server, with all services faked.
type rig struct {
	t        *testing.T
	gw       *apigateway.Service
	srv      *httptest.Server
	services *services
	auth     *auth
	sessions faststate.Sessions
	signer   *token.Signer
	reg      *prometheus.Registry
	log      *logBuffer
}

func defaults(t *testing.T) apigateway.Config {
	t.Helper()
	var cfg apigateway.Config
	if _, err := config.Load(&cfg, config.Sources{}); err != nil {
		t.Fatalf("config.Load(defaults) = %v; want nil", err)
	}
	cfg.RateLimit = 0
	return cfg
}

// open starts a rig with the default settings, but without a rate limit, as changed by tune.
func open(t *testing.T, tune ...func(*apigateway.Config, *apigateway.Deps)) *rig {
	t.Helper()
	r := prepare(t, tune...)
	r.srv = httptest.NewServer(r.gw.Handler())
	t.Cleanup(r.srv.Close)
	return r
}

func prepare(t *testing.T, tune ...func(*apigateway.Config, *apigateway.Deps)) *rig {
	t.Helper()
	signer, err := token.NewSigner(bytes.Repeat([]byte{7}, token.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, signer: signer, reg: prometheus.NewRegistry(), log: &logBuffer{}}
	log := obs.NewLogger(r.log, obs.Text, slog.LevelDebug)
	network := inproc.New(log)
	r.services = serveAll(network)
	r.auth = &auth{keys: signer.JWKS(), open: map[string]bool{}}
	authv1.RegisterAuthInternalServiceServer(network, r.auth)
	r.sessions = memory.NewSessions(memory.Config{}, time.Now)
	deps := apigateway.Deps{
		Net: network, Limits: memory.NewLimits(memory.Config{}, time.Now), Sessions: r.sessions,
		Verifier: token.NewVerifier(func(context.Context) ([]byte, error) { return signer.JWKS(), nil }, token.VerifierConfig{}),
	}
	cfg := defaults(t)
	for _, f := range tune {
		f(&cfg, &deps)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatalf("Validate() = %v; want nil", err)
	}
	r.gw = apigateway.New(cfg, "127.0.0.1:0", deps, log, r.reg)
	return r
}

// token returns an access token for user in session, good for d.
func (r *rig) token(user, session string, d time.Duration) string {
	r.t.Helper()
	now := time.Now()
	tok, err := r.signer.Sign(token.Claims{
		UserID: chat.UserID(user), SessionID: chat.SessionID(session), DeviceID: "d1", Platform: authv1.Platform_PLATFORM_WEB,
		Issued: now.Add(min(0, d) - time.Minute), Expires: now.Add(d),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return tok
}

// login returns the token of an open session that is on the allow-list.
func (r *rig) login(user string) string {
	r.t.Helper()
	s := faststate.Session{ID: chat.SessionID("s-" + user), UserID: chat.UserID(user), Expires: time.Now().Add(time.Hour)}
	if err := r.sessions.Allow(r.t.Context(), []faststate.Session{s}); err != nil {
		r.t.Fatal(err)
	}
	return r.token(user, "s-"+user, time.Hour)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; header is pairs of names and values.
func (r *rig) do(verb, path, tok, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), verb, r.srv.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if tok != "" {
		req.Header.Set("Authorization", "Bearer "+tok)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return r.send(req)
}

func (r *rig) send(req *http.Request) answer {
	r.t.Helper()
	client := &http.Client{
		Transport:     r.srv.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: read answer: %v", req.Method, req.URL, err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// errorObject is the one of the contract.
type errorObject struct {
	Code, Reason, Message string
	Fields                []struct{ Field, Rule string }
	RetryAfterMs          int64
	RequestID             string `json:"requestId"`
}

// refusal reads the error object and checks what is so for all of them.
func (a answer) refusal(t *testing.T) errorObject {
	t.Helper()
	var e errorObject
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("status %d, body %q: %v; want the error object", a.status, a.body, err)
	}
	if e.RequestID == "" || e.RequestID != a.header.Get("X-Request-Id") || e.Message == "" {
		t.Errorf("error object %s with X-Request-Id %q; want the same id, and a message", a.body, a.header.Get("X-Request-Id"))
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q; want application/json", got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q; want no-store", got)
	}
	if code := fault.Reason(e.Reason).Code(); string(code) != e.Code {
		t.Errorf("code = %s with reason %s; want %s", e.Code, e.Reason, code)
	}
	if (e.RetryAfterMs > 0 || a.status == http.StatusTooManyRequests) != (a.header.Get("Retry-After") != "") {
		t.Errorf("status %d, retryAfterMs %d, Retry-After %q", a.status, e.RetryAfterMs, a.header.Get("Retry-After"))
	}
	return e
}

// call is a request that reached a service.
type call struct {
	method    string // full name
	request   proto.Message
	identity  calls.Identity
	requestID string
	deadline  bool
}

// services serves every public method: it keeps what came and answers with what reply says, else with an empty message.
type services struct {
	mu    sync.Mutex // guards all below
	calls []call
	reply map[string]func(ctx context.Context, req proto.Message) (proto.Message, error) // by full name
	each  func(m wire.Method) proto.Message                                              // where reply has nothing
}

// serveAll registers all services that have public methods.
func serveAll(host calls.Host) *services {
	s := &services{reply: map[string]func(context.Context, proto.Message) (proto.Message, error){}}
	descs := map[string]*grpc.ServiceDesc{}
	for _, m := range wire.Methods() {
		name := string(m.Descriptor.Parent().FullName())
		if descs[name] == nil {
			descs[name] = &grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}
		}
		descs[name].Methods = append(descs[name].Methods, grpc.MethodDesc{
			MethodName: string(m.Descriptor.Name()),
			Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				req := m.NewRequest()
				if err := dec(req); err != nil {
					return nil, err
				}
				return s.serve(ctx, m, req)
			},
		})
	}
	for _, d := range descs {
		host.RegisterService(d, s)
	}
	return s
}

func (s *services) serve(ctx context.Context, m wire.Method, req proto.Message) (any, error) {
	_, deadline := ctx.Deadline()
	s.mu.Lock()
	s.calls = append(s.calls, call{m.FullMethod, req, calls.IdentityOf(ctx), calls.RequestID(ctx), deadline})
	reply, each := s.reply[m.FullMethod], s.each
	s.mu.Unlock()
	switch {
	case reply != nil:
		return reply(ctx, req)
	case each != nil:
		return each(m), nil
	}
	return m.NewResponse(), nil
}

// on sets the answer of a method such as "user.get".
func (s *services) on(t *testing.T, name string, reply func(ctx context.Context, req proto.Message) (proto.Message, error)) {
	t.Helper()
	m, ok := wire.Lookup(name)
	if !ok {
		t.Fatalf("no method %s", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply[m.FullMethod] = reply
}

// take returns the calls since the last take.
func (s *services) take() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.calls
	s.calls = nil
	return all
}

// auth is what gateways ask of auth.
type auth struct {
	authv1.UnimplementedAuthInternalServiceServer

	keys []byte
	mu   sync.Mutex // guards all below
	open map[string]bool
	down bool
}

func (a *auth) CheckSessions(_ context.Context, req *authv1.CheckSessionsRequest) (*authv1.CheckSessionsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		return nil, fmt.Errorf("the database is away")
	}
	resp := &authv1.CheckSessionsResponse{}
	for _, id := range req.GetSessionIds() {
		if a.open[id] {
			resp.OpenSessionIds = append(resp.OpenSessionIds, id)
		}
	}
	return resp, nil
}

func (a *auth) GetKeys(context.Context, *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	return &authv1.GetKeysResponse{Jwks: a.keys}, nil
}

// logBuffer keeps the log.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// eventually waits for what a server does after it has answered.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}
