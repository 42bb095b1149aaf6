package system

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
	"github.com/oceanchat/oceanchat/test/client"
)

// page returns what a path of the operations port shows, of all processes.
func (s *server) page(path string) string {
	s.t.Helper()
	var all strings.Builder
	for _, ops := range s.opsOfAll() {
		resp, err := http.Get(ops + path)
		if err != nil {
			s.t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			s.t.Fatalf("GET %s = %d, %v", path, resp.StatusCode, err)
		}
		all.Write(data)
	}
	return all.String()
}

// lines returns the lines of a JSON log that have a key with a value.
func (s *server) lines(key, value string) (out []map[string]any) {
	for line := range strings.Lines(s.output()) {
		var l map[string]any
		if json.Unmarshal([]byte(line), &l) == nil && l[key] == value {
			out = append(out, l)
		}
	}
	return out
}

// APIGW-4: at debug level one message can be followed through every stage: by its request's id from the gateway to the
// log, where a line names the message's id too, and by that from the log to the device.
func TestFollowOneMessageThroughTheLog(t *testing.T) {
	s := start(t, "--logs-level", "debug", "--logs-format", "json")
	ann, bob := s.user("ann"), s.user("bob")
	a, b := connect(t, ann), connect(t, bob)
	var sent struct{ MessageID string }
	err := a.Call(t.Context(), "message.send", client.Object{"clientMsgId": "m1", "toUserId": bob.ID, "text": client.Object{"text": "hi"}}, &sent)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.NextEntry(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"append", "message orchestrated", "message pushed", "message delivered", "message stored"} {
		eventually(t, "the line of "+stage, func() bool {
			for _, l := range s.lines("message_id", sent.MessageID) {
				if l["msg"] == stage {
					return true
				}
			}
			return false
		})
	}
	var request string
	for _, l := range s.lines("message_id", sent.MessageID) {
		if l["msg"] == "append" {
			request, _ = l["request_id"].(string)
		}
	}
	if request == "" {
		t.Fatal("the line of the append names no request")
	}
	for _, method := range []string{"RouterService/Route", "MessageService/Send"} {
		found := false
		for _, l := range s.lines("request_id", request) {
			found = found || l["msg"] == "call" && l["method"] == method && l["reason"] == "OK"
		}
		if !found {
			t.Errorf("no line of the call %s with request %s", method, request)
		}
	}
}

// Profiles are on the operations port only, and there only if wanted.
func TestProfilesAreNotPublic(t *testing.T) {
	status := func(url string) int {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	s, without := start(t), start(t, "--ops-profiles=false")
	for _, tt := range []struct {
		url  string
		want int
	}{
		{s.ops + "/debug/pprof/", 200},
		{s.ops + "/debug/pprof/heap", 200},
		{s.base + "/debug/pprof/", 404},
		{s.base + "/metrics", 404},
		{s.base + "/status/config", 404},
		{s.base + "/readyz", 404},
		{without.ops + "/debug/pprof/", 404},
		{without.ops + "/debug/pprof/goroutine", 404},
		{without.ops + "/metrics", 200},
	} {
		if got := status(tt.url); got != tt.want {
			t.Errorf("GET %s = %d; want %d", tt.url, got, tt.want)
		}
	}
}

// planted collects secrets by what they are.
type planted map[string]string

// check searches for every secret in what a server shows.
func (p planted) check(t *testing.T, where, shown string) {
	t.Helper()
	for what, secret := range p {
		if i := strings.Index(shown, secret); i >= 0 {
			t.Errorf("%s shows the %s: …%s…", where, what, shown[max(0, i-200):min(len(shown), i+100)])
		}
	}
}

// Invariant 9: whatever users, clients and operators keep secret is in no log, metric, page, profile or trace, even at
// debug level and even when it comes in a place where nobody expects it.
func TestNothingShowsSecrets(t *testing.T) {
	apple, google, traces := vendortest.NewAPNs(t), vendortest.NewFCM(t), newCollector(t)
	s := start(t, append(pushFlags(apple, google, apple.CAFile, google.CAFile),
		"--logs-level", "debug", "--traces-endpoint", traces.URL, "--traces-sample", "1", "--nats-listen", freeAddr(t))...)
	secrets := planted{}
	session(t, s, secrets, apple, google)
	strangers(t, s, secrets)

	var account struct {
		Key string `json:"private_key"`
	}
	if err := json.Unmarshal(google.ServiceAccount, &account); err != nil {
		t.Fatal(err)
	}
	secrets["key of FCM"] = strings.Split(account.Key, "\n")[1]
	secrets["key of APNs"] = strings.Split(string(apple.KeyPEM), "\n")[1]
	_, secrets["password of NATS"] = s.nats()
	if !oneProcess(t) {
		secrets["password of Redis"] = s.setting("OCEANCHAT_REDIS_PASSWORD")
	}

	secrets.check(t, "/metrics", s.page("/metrics"))
	secrets.check(t, "/status/config", s.page("/status/config"))
	secrets.check(t, "/readyz", s.page("/readyz"))
	secrets.check(t, "the goroutines", s.page("/debug/pprof/goroutine?debug=2"))
	secrets.check(t, "the heap profile", s.page("/debug/pprof/heap?debug=1"))
	secrets.check(t, "the command line", s.page("/debug/pprof/cmdline"))
	if code := s.stop(); code != 0 {
		t.Errorf("exit code = %d; want 0", code)
	}
	log := s.output()
	secrets.check(t, "the log", log)
	raw := string(traces.everything())
	secrets.check(t, "a trace", raw)
	planted{"username": "ann.secretname", "nickname": "NICKNAME-OF-ANN"}.check(t, "a trace", raw)
	if !strings.Contains(log, "level=DEBUG") || !strings.Contains(raw, "log append") {
		t.Error("the log or the traces are empty; the test has looked at nothing")
	}
}

// session is what a user does in a long life.
func session(t *testing.T, s *server, secrets planted, apple *vendortest.APNs, google *vendortest.FCM) {
	t.Helper()
	ctx := t.Context()
	secrets["password"], secrets["next password"] = "first-PLANTED-password", "next-PLANTED-password"
	secrets["wrong password"], secrets["refused password"] = "wrong-PLANTED-password", "short-PLANTED-password-"+strings.Repeat("x", 200)
	ann := &client.User{REST: client.REST{Base: s.base}, Username: "ann.secretname", Password: secrets["password"], Device: "dev-ann", Platform: "web"}
	var made struct{ User struct{ UserID string } }
	register := func(password string) error {
		return ann.Do(ctx, "POST", "/auth/register", client.Object{"username": ann.Username, "password": password, "nickname": "NICKNAME-OF-ANN"}, &made)
	}
	if err := register(secrets["refused password"]); client.ReasonOf(err) != "INVALID_FIELD" {
		t.Fatalf("register with a password too long = %v; want INVALID_FIELD", err)
	}
	must(t, register(ann.Password))
	ann.ID = made.User.UserID
	ann.Password = secrets["wrong password"]
	if err := ann.Login(ctx); client.ReasonOf(err) != "BAD_CREDENTIALS" {
		t.Fatalf("log in with a wrong password = %v; want BAD_CREDENTIALS", err)
	}
	ann.Password = secrets["password"]
	must(t, ann.Login(ctx))
	secrets["access token"], secrets["refresh token"] = ann.Token, ann.Refresh
	var next struct{ AccessToken, RefreshToken string }
	must(t, ann.Do(ctx, "POST", "/auth/refresh", client.Object{"refreshToken": ann.Refresh}, &next))
	secrets["next access token"], secrets["next refresh token"] = next.AccessToken, next.RefreshToken
	ann.Token = next.AccessToken
	must(t, ann.Do(ctx, "POST", "/auth/password", client.Object{"oldPassword": ann.Password, "newPassword": secrets["next password"]}, nil))

	secrets["push token of APNs"], secrets["push token of FCM"] = strings.Repeat("deadbeef", 8), "android-PLANTED-push-token"
	bob, cid := s.user("bob"), s.user("cid")
	must(t, bob.Do(ctx, "PUT", "/devices/"+bob.Device+"/push", client.Object{
		"provider": "apns", "token": secrets["push token of APNs"], "appId": apple.Topic, "environment": "production", "language": "en",
	}, nil))
	must(t, cid.Do(ctx, "PUT", "/devices/"+cid.Device+"/push", client.Object{
		"provider": "fcm", "token": secrets["push token of FCM"], "appId": "com.example", "language": "en",
	}, nil))
	secrets["text over REST"], secrets["text over WebSocket"] = "PLANTED text over REST", "PLANTED text over WebSocket"
	must(t, send(ctx, ann, bob.ID, "m1", secrets["text over REST"]))
	c := connect(t, ann)
	must(t, c.Call(ctx, "message.send", client.Object{"clientMsgId": "m2", "toUserId": cid.ID, "text": client.Object{"text": secrets["text over WebSocket"]}}, nil))
	secrets["text of a refused message"] = "PLANTED text that is too long"
	err := c.Call(ctx, "message.send", client.Object{"clientMsgId": "m3", "toUserId": cid.ID, "text": client.Object{
		"text": secrets["text of a refused message"] + strings.Repeat(".", 6000),
	}}, nil)
	if client.ReasonOf(err) != "INVALID_FIELD" {
		t.Errorf("a text too long = %v; want INVALID_FIELD", err)
	}
	eventually(t, "the phones are asked for", func() bool {
		return len(apple.For(secrets["push token of APNs"])) > 0 && len(google.For(secrets["push token of FCM"])) > 0
	})
	must(t, ann.Do(ctx, "POST", "/auth/logout", nil, nil))
	// A refresh token that was replaced long ago ends its session, which is worth a line; not the token.
	err = ann.Do(ctx, "POST", "/auth/refresh", client.Object{"refreshToken": ann.Refresh}, nil)
	if err == nil {
		t.Error("a refresh after log-out succeeded")
	}
}

// strangers send what belongs to no rule, with a secret in every corner.
func strangers(t *testing.T, s *server, secrets planted) {
	t.Helper()
	plant := func(what string) string {
		secrets[what] = "PLANTED-" + strings.ReplaceAll(what, " ", "-")
		return secrets[what]
	}
	get := func(path string, header ...string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.base+path, nil)
		must(t, err)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		_ = resp.Body.Close()
	}
	get("/nowhere/" + plant("unknown path"))
	get("/users/me?token=" + plant("query"))
	get("/ws?token=" + plant("query of ws"))
	get("/users/me", "Authorization", "Bearer "+plant("bearer that is no token"))
	get("/users/me", "Cookie", "session="+plant("cookie"))
	get("/users/me", "X-Request-Id", plant("request id that is none")+" with blanks")
	for _, body := range []string{`{"username":"x","password":"` + plant("malformed body"), `{"password":{"a":"` + plant("password of a wrong type") + `"}}`} {
		_ = client.REST{Base: s.base}.Do(t.Context(), "POST", "/auth/login", body, nil)
	}
	for _, addr := range []string{strings.TrimPrefix(s.base, "http://"), s.tcp} {
		conn, err := net.Dial("tcp", addr)
		must(t, err)
		_, _ = fmt.Fprintf(conn, "%s\r\n\r\n", plant("garbage on a port"))
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	first, err := client.Dial(t.Context(), s.base)
	must(t, err)
	t.Cleanup(first.Close)
	_ = first.Call(t.Context(), "connect", client.Object{"token": plant("token of connect"), "deviceId": "d", "platform": "web"}, nil)

	u := s.user("dan")
	for _, frame := range []string{
		`{"jsonrpc":"2.0","id":"` + plant("broken frame"),
		`{"jsonrpc":"2.0","id":1,"method":"` + plant("unknown method") + `"}`,
		`{"jsonrpc":"2.0","id":1,"method":"message.send","params":{"clientMsgId":{"` + plant("name of a member") + `":1}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"message.send","params":"` + plant("params that are no object") + `"}`,
		`{"jsonrpc":"2.0","method":"ack","params":{"n":"` + plant("ack") + `"}}`,
	} {
		c := connect(t, u)
		must(t, c.Raw(ws.OpText, []byte(frame)))
		_ = c.Call(t.Context(), "ping", client.Object{}, nil) // the frame was read
	}
	c := connect(t, u)
	must(t, c.Raw(ws.OpBinary, []byte("\x08\x01\x1a\xff"+plant("binary frame"))))
	_, _ = c.Closed(within(t, 5*time.Second))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
