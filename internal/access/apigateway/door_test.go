package apigateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/access/apigateway"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/netdoor"
)

func limited(c *apigateway.Config, d *apigateway.Deps) {
	c.RateLimit, c.Burst = 0.001, 3 // nothing comes back while a test runs
	d.Trust, _ = netdoor.NewTrust([]string{"127.0.0.0/8", "::1", "10.0.0.0/8"}, "")
}

// statuses returns the statuses of n requests.
func statuses(n int, do func() answer) string {
	var all []string
	for range n {
		all = append(all, fmt.Sprint(do().status))
	}
	return strings.Join(all, " ")
}

// APIGW-3: per user with a valid token, else per address, counted before anything else.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(r *rig) (first, second func() answer)
		want string // statuses of four requests of the first, then of one of the second
	}{
		{"an address without a token", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "POST", "/auth/login", ""), from(r, "9.9.9.2", "POST", "/auth/login", "")
		}, "200 200 200 429 200"},
		{"unknown paths count", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "GET", "/nowhere", ""), from(r, "9.9.9.1", "POST", "/auth/login", "")
		}, "404 404 404 429 429"},
		{"bad tokens count for their address", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "GET", "/users/me", "bad"), from(r, "9.9.9.1", "POST", "/auth/login", "")
		}, "401 401 401 429 429"},
		{"a bad token on a public route", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "POST", "/auth/login", "bad"), from(r, "9.9.9.1", "POST", "/auth/login", "")
		}, "200 200 200 429 429"},
		{"a user, from wherever", func(r *rig) (_, _ func() answer) {
			ann := r.login("ann")
			return from(r, "9.9.9.1", "GET", "/users/me", ann), from(r, "9.9.9.2", "GET", "/users/me", ann)
		}, "200 200 200 429 429"},
		{"an office behind one address is not starved", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "GET", "/users/me", r.login("ann")), from(r, "9.9.9.1", "GET", "/users/me", r.login("bob"))
		}, "200 200 200 429 200"},
		{"nor by one without a token", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "GET", "/users/me", "bad"), from(r, "9.9.9.1", "GET", "/users/me", r.login("bob"))
		}, "401 401 401 429 200"},
		{"a token buys no more log-ins", func(r *rig) (_, _ func() answer) {
			n := 0
			return func() answer {
				n++
				return from(r, "9.9.9.1", "POST", "/auth/login", r.login(fmt.Sprint("ann", n)))()
			}, from(r, "9.9.9.1", "GET", "/users/me", r.login("ann1"))
		}, "200 200 200 429 200"},
		{"one /64 is one client", func(r *rig) (_, _ func() answer) {
			return from(r, "2001:db8:1:2::1", "POST", "/auth/login", ""), from(r, "2001:db8:1:2:ffff::9", "POST", "/auth/login", "")
		}, "200 200 200 429 429"},
		{"the next /64 is another", func(r *rig) (_, _ func() answer) {
			return from(r, "2001:db8:1:2::1", "POST", "/auth/login", ""), from(r, "2001:db8:1:3::1", "POST", "/auth/login", "")
		}, "200 200 200 429 200"},
		{"what a client writes into X-Forwarded-For does not count", func(r *rig) (_, _ func() answer) {
			n := 0
			return func() answer {
				n++
				return r.do("POST", "/auth/login", "", "", "X-Forwarded-For", fmt.Sprintf("8.8.8.%d, 9.9.9.1", n))
			}, from(r, "9.9.9.1", "POST", "/auth/login", "")
		}, "200 200 200 429 429"},
		{"the page and files are exempt", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "GET", "/docs", ""), from(r, "9.9.9.1", "GET", "/openapi.json", "")
		}, "200 200 200 200 200"},
		{"the keys are not", func(r *rig) (_, _ func() answer) {
			return from(r, "9.9.9.1", "GET", "/.well-known/jwks.json", ""), from(r, "9.9.9.1", "HEAD", "/openapi.json", "")
		}, "200 200 200 429 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := open(t, limited)
			first, second := tt.do(r)
			if got := statuses(4, first) + " " + statuses(1, second); got != tt.want {
				t.Errorf("statuses = %s; want %s", got, tt.want)
			}
		})
	}
}

func from(r *rig, ip, verb, path, tok string) func() answer {
	return func() answer { return r.do(verb, path, tok, "", "X-Forwarded-For", ip) }
}

// APIGW-3: 429 says when to come again.
func TestRateLimitAnswer(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *apigateway.Config, _ *apigateway.Deps) { c.RateLimit, c.Burst = 0.01, 1 })
	r.do("POST", "/auth/login", "", "")
	got := r.do("POST", "/auth/login", "", "{")
	e := got.refusal(t)
	if got.status != 429 || e.Reason != "RATE_LIMITED" || e.RetryAfterMs < 60_000 || e.RetryAfterMs > 100_000 {
		t.Fatalf("= %d %s; want 429 RATE_LIMITED with up to 100 s", got.status, got.body)
	}
	if want := fmt.Sprint((e.RetryAfterMs + 999) / 1000); got.header.Get("Retry-After") != want {
		t.Errorf("Retry-After = %s with %d ms; want %s", got.header.Get("Retry-After"), e.RetryAfterMs, want)
	}
	if n := testutil.CollectAndCount(r.reg, "oceanchat_api_gateway_rate_limited_total"); n != 1 {
		t.Errorf("%d series of rate_limited_total; want 1", n)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	cfg := apigateway.Config{
		Origins: []string{"*", "https://chat.example.com", "https://chat.example.com/", "chat.example.com", "https://x/path"},
	}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("Validate() = nil; want errors")
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != 2 {
		t.Errorf("Validate() = %v: %d rules; want 2", err, got)
	}
	var loaded apigateway.Config
	if _, err := config.Load(&loaded, config.Sources{}); err != nil || loaded.RateLimit != 10 || loaded.Burst != 20 || loaded.BodyLimit != 64<<10 {
		t.Errorf("defaults = %+v, %v; want those of the contract", loaded, err)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const listed, foreign = "https://chat.example.com", "https://evil.example"
	r := open(t, func(c *apigateway.Config, _ *apigateway.Deps) { c.Origins = []string{listed + "/"} })
	ann := r.login("ann")
	tests := []struct {
		name, verb, origin string
		preflight          bool
		status             int
		allow              string // Access-Control-Allow-Origin
	}{
		{"no page", "GET", "", false, 200, ""},
		{"a listed page", "GET", listed, false, 200, listed},
		{"a foreign page cannot read the answer", "GET", foreign, false, 200, ""},
		{"the own page needs no header", "GET", r.srv.URL, false, 200, ""},
		{"preflight of a listed page", "OPTIONS", listed, true, 204, listed},
		{"preflight of a foreign page", "OPTIONS", foreign, true, 403, ""},
		{"preflight of a sandbox", "OPTIONS", "null", true, 403, ""},
		{"preflight of the own page", "OPTIONS", r.srv.URL, true, 204, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := []string{}
			if tt.origin != "" {
				header = append(header, "Origin", tt.origin)
			}
			tok := ann
			if tt.preflight {
				tok = ""
				header = append(header, "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization")
			}
			got := r.do(tt.verb, "/users/me", tok, "", header...)
			if got.status != tt.status || got.header.Get("Access-Control-Allow-Origin") != tt.allow || got.header.Get("Vary") != "Origin" {
				t.Errorf("= %d, allow %q, vary %q; want %d, %q, Origin", got.status, got.header.Get("Access-Control-Allow-Origin"),
					got.header.Get("Vary"), tt.status, tt.allow)
			}
			if got.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed; no cookie counts here")
			}
			if methods := got.header.Get("Access-Control-Allow-Methods"); (tt.status == 204 && tt.allow != "") != strings.Contains(methods, "PATCH") {
				t.Errorf("Access-Control-Allow-Methods = %q", methods)
			}
		})
	}
	if n := len(r.services.take()); n != 4 {
		t.Errorf("%d calls; want 4: no preflight is a call", n)
	}
}

// The JSON of the contract comes out as it was written: compact, every field, no escapes for HTML.
func TestShape(t *testing.T) {
	t.Parallel()
	r := open(t)
	r.services.on(t, "user.getMe", func(context.Context, proto.Message) (proto.Message, error) {
		return &userv1.UserResponse{User: &userv1.User{UserId: "u1", Username: "bob", Nickname: "<Bob>"}}, nil
	})
	got := r.do("GET", "/users/me", r.login("ann"), "", "Accept", "text/html", "Accept-Encoding", "identity")
	if want := `{"user":{"userId":"u1","username":"bob","nickname":"<Bob>","avatar":"","bio":""}}`; got.body != want {
		t.Errorf("body = %s; want %s", got.body, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Content-Length": fmt.Sprint(len(got.body)), "Retry-After": "", "Server": "", "Trailer": "",
	} {
		if v := got.header.Get(name); v != want {
			t.Errorf("%s = %q; want %q", name, v, want)
		}
	}
	got = r.do("GET", "/users/me", "", "", "X-Request-Id", "req1")
	want := `{"code":"UNAUTHENTICATED","reason":"TOKEN_MISSING","message":"an access token is needed","fields":[],"retryAfterMs":0,"requestId":"req1"}`
	if got.body != want {
		t.Errorf("refusal = %s; want %s", got.body, want)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	r := open(t)
	for id, ok := range map[string]bool{
		"abc_-09": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, "a~b": false, "": false, `"`: false,
	} {
		got := r.do("GET", "/nowhere", "", "", "X-Request-Id", id)
		answered := got.header.Get("X-Request-Id")
		if (answered == id) != ok || answered == "" {
			t.Errorf("X-Request-Id %q is answered with %q; it is valid: %t", id, answered, ok)
		}
	}
}

// APIGW-4: each request is logged and counted by its route; what is secret is not. Invariant 9.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	r.do("GET", "/users/u7?nickname=hidden1", ann, "", "X-Request-Id", "req1")
	r.do("POST", "/auth/login", "", `{"password":"hidden2"}`, "X-Request-Id", "req2")
	r.do("GET", "/made/up/hidden3", "hidden4", "", "X-Request-Id", "req3")
	r.do("BREW", "/users/me", "", "", "X-Request-Id", "req4")
	for _, want := range []string{
		`msg=request method=GET route=/users/{userId} status=200 bytes=13 `,
		`user_id=ann reason="" request_id=req1`,
		`msg=request method=POST route=/auth/login status=200 `,
		`msg=request method=GET route=none status=404 `,
		`reason=NO_ROUTE request_id=req3`,
		`msg=request method=other route=none status=405 `,
		`remote_addr=127.0.0.1 `,
	} {
		eventually(t, "log has "+want, func() bool { return strings.Contains(r.log.String(), want) })
	}
	if log := r.log.String(); strings.Contains(log, "hidden") || strings.Contains(log, ann) {
		t.Errorf("log tells a secret: %s", log)
	}
	want := `
# HELP oceanchat_api_gateway_requests_total Answered requests.
# TYPE oceanchat_api_gateway_requests_total counter
oceanchat_api_gateway_requests_total{method="GET",route="/users/{userId}",status="200"} 1
oceanchat_api_gateway_requests_total{method="GET",route="none",status="404"} 1
oceanchat_api_gateway_requests_total{method="POST",route="/auth/login",status="200"} 1
oceanchat_api_gateway_requests_total{method="other",route="none",status="405"} 1
`
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "oceanchat_api_gateway_requests_total"); err != nil {
		t.Error(err)
	}
}

// The page holds all it needs: no address of elsewhere, and a policy under which only its own script and style run.
func TestDocs(t *testing.T) {
	t.Parallel()
	r := open(t)
	got := r.do("GET", "/docs", "", "")
	if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		t.Fatalf("GET /docs = %d %s; want 200 text/html", got.status, got.header.Get("Content-Type"))
	}
	if m := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]+\.|\bimport\b|@import|\burl\(|innerHTML|\son[a-z]+=|\sstyle=`).FindString(got.body); m != "" {
		t.Errorf("the page has %q; want nothing of elsewhere and nothing that the policy forbids", m)
	}
	policy := got.header.Get("Content-Security-Policy")
	for _, tag := range []string{"style", "script"} {
		parts := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(got.body, -1)
		if len(parts) != 1 || len(parts[0][1]) < 500 {
			t.Fatalf("%d times <%s>; want 1, filled", len(parts), tag)
		}
		sum := sha256.Sum256([]byte(parts[0][1]))
		if want := tag + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("policy %s has no %s", policy, want)
		}
	}
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy = %s", policy)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	r := open(t)
	for _, path := range []string{"/docs", "/openapi.json", "/.well-known/jwks.json"} {
		full, head := r.do("GET", path, "", ""), r.do("HEAD", path, "", "")
		if full.status != 200 || full.body == "" || full.header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("GET %s = %d, %d bytes, Cache-Control %q", path, full.status, len(full.body), full.header.Get("Cache-Control"))
		}
		if head.status != 200 || head.body != "" || head.header.Get("Content-Type") != full.header.Get("Content-Type") {
			t.Errorf("HEAD %s = %d, %d bytes, %s; want as GET without a body", path, head.status, len(head.body), head.header.Get("Content-Type"))
		}
	}
	if got := r.do("GET", "/.well-known/jwks.json", "", ""); got.body != string(r.signer.JWKS()) {
		t.Errorf("keys = %s; want auth's", got.body)
	}
	first := r.do("GET", "/openapi.json", "", "")
	if got := r.do("GET", "/openapi.json", "", "", "If-None-Match", first.header.Get("ETag")); got.status != 304 {
		t.Errorf("with its ETag = %d; want 304", got.status)
	}
	if got := r.do("GET", "/", "", ""); got.status != 302 || got.header.Get("Location") != "/docs" {
		t.Errorf("GET / = %d to %q; want 302 to /docs", got.status, got.header.Get("Location"))
	}
}

// /ws gets the request as it came, and the connection; the limits are not for it.
func TestWebSocketIsMounted(t *testing.T) {
	t.Parallel()
	ws := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
	})
	r := open(t, limited, func(_ *apigateway.Config, d *apigateway.Deps) { d.WebSocket = ws })
	do := func() answer { return r.do("GET", "/ws", "", "", "Connection", "Upgrade", "Upgrade", "websocket") }
	if got := statuses(6, do); got != "101 101 101 101 101 101" {
		t.Errorf("statuses = %s; want all 101", got)
	}
	eventually(t, "log has the upgrade", func() bool { return strings.Contains(r.log.String(), "route=/ws status=101") })
}

// A panic of the gateway itself is one request's trouble.
func TestPanic(t *testing.T) {
	t.Parallel()
	ws := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret cause") })
	r := open(t, func(_ *apigateway.Config, d *apigateway.Deps) { d.WebSocket = ws })
	got := r.do("GET", "/ws", "", "")
	if e := got.refusal(t); got.status != 500 || e.Reason != "INTERNAL" || strings.Contains(got.body, "secret") {
		t.Errorf("= %d %s; want 500 INTERNAL without the cause", got.status, got.body)
	}
	if got := r.do("GET", "/users/me", r.login("ann"), ""); got.status != 200 {
		t.Errorf("the next request = %d %s; want 200", got.status, got.body)
	}
	eventually(t, "log has the cause", func() bool {
		return strings.Contains(r.log.String(), "secret cause") && strings.Contains(r.log.String(), "route=/ws status=500")
	})
}

// Run says when it listens and where, finishes what is under way, and leaves nothing behind (goleak).
func TestRun(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	if got := r.gw.Addr(); got != nil {
		t.Errorf("Addr() before Run = %v; want nil", got)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	r.services.on(t, "user.getMe", func(context.Context, proto.Message) (proto.Message, error) {
		close(entered)
		<-leave
		return &userv1.UserResponse{}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.gw.Run(ctx, func() { close(ready) }) }()
	<-ready
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	url := "http://" + r.gw.Addr().String()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.login("ann"))
	answered := make(chan int, 1)
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			answered <- 0
			return
		}
		defer resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-entered
	cancel()
	eventually(t, "no new connections", func() bool {
		resp, err := http.Get(url + "/openapi.json")
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
	close(leave)
	if got := <-answered; got != 200 {
		t.Errorf("request under way = %d; want 200", got)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A taken address is an error that names the setting.
func TestRunAddressTaken(t *testing.T) {
	t.Parallel()
	first := open(t)
	taken := apigateway.New(defaults(t), first.srv.Listener.Addr().String(), apigateway.Deps{}, nil, prometheus.NewRegistry())
	err := taken.Run(t.Context(), func() { t.Error("ready was called") })
	if err == nil || !strings.Contains(err.Error(), "http.addr") {
		t.Errorf("Run = %v; want an error that names http.addr", err)
	}
}

// Who sends a header drop by drop is cut off.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	r := prepare(t, func(c *apigateway.Config, _ *apigateway.Deps) {
		c.HeaderTimeout, c.ReadTimeout = 20*time.Millisecond, 20*time.Millisecond
	})
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.gw.Run(ctx, func() { close(ready) }) }()
	<-ready
	nc := dial(t, r.gw.Addr().String())
	_, _ = io.WriteString(nc, "GET /docs HTTP/1.1\r\nHost: x\r\n")
	if data, err := io.ReadAll(nc); err != nil || strings.Contains(string(data), "200 OK") {
		t.Errorf("half a header = %q, %v; want the end of the connection", data, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
}
