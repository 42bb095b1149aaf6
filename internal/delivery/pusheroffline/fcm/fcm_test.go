package fcm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/fcm"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const device = "cKx:APA91bH-device-token-0123456789"

// start returns a fake and a Sender that reaches it as the built binary would: by files and addresses.
func start(t *testing.T, change ...func(*fcm.Config, *vendorapi.Options)) (*vendortest.FCM, *fcm.Sender) {
	t.Helper()
	f := vendortest.NewFCM(t)
	cfg := fcm.Config{
		ServiceAccountFile: f.ServiceAccountFile, Endpoint: f.URL, CAFile: f.CAFile, Timeout: time.Minute,
	}
	var o vendorapi.Options
	for _, c := range change {
		c(&cfg, &o)
	}
	s, err := fcm.New(cfg, o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return f, s
}

// clock is a settable clock for both sides.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func startAt(t *testing.T) (*vendortest.FCM, *fcm.Sender, *clock) {
	t.Helper()
	c := &clock{}
	c.ns.Store(time.Now().UnixNano())
	f, s := start(t, func(_ *fcm.Config, o *vendorapi.Options) { o.Now = c.now })
	f.SetClock(c.now)
	return f, s, c
}

func item(token string) vendorapi.Item {
	return vendorapi.Item{
		Target: vendorapi.Target{Provider: "fcm", Token: token},
		Notification: vendorapi.Notification{
			ConversationID: "g~1", MessageID: "m1", Seq: 7, Title: "Alice", Body: "hi",
		},
	}
}

func send(t *testing.T, s *fcm.Sender, it vendorapi.Item) vendorapi.Outcome {
	t.Helper()
	out := s.Send(t.Context(), []vendorapi.Item{it})
	if len(out) != 1 {
		t.Fatalf("Send of one item = %d outcomes; want 1", len(out))
	}
	return out[0]
}

func noProblems(t *testing.T, f *vendortest.FCM) {
	t.Helper()
	if p := f.Problems(); len(p) > 0 {
		t.Errorf("FCM found problems: %q", p)
	}
}

// OFF-2
func TestPayloads(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	const data = `"data":{"conversationId":"g~1","messageId":"m1","seq":"7"}`
	tests := []struct {
		name   string
		change func(*vendorapi.Notification)
		want   string // of the message, behind the token
	}{
		{
			"chat message",
			func(n *vendorapi.Notification) {
				n.Badge, n.CollapseID, n.Expires = new(3), "m1", c.now().Add(time.Hour)
			},
			`"notification":{"title":"Alice","body":"hi"},"data":{"badge":"3","conversationId":"g~1","messageId":"m1","seq":"7"},` +
				`"android":{"priority":"HIGH","ttl":"3600s","notification":{"tag":"m1","sound":"default","notification_count":3}}`,
		},
		{
			"now or never, normal priority, no HTML escapes",
			func(n *vendorapi.Notification) { n.Priority, n.Body = vendorapi.Normal, "<a> & \"b\"" },
			`"notification":{"title":"Alice","body":"<a> & \"b\""},` + data +
				`,"android":{"priority":"NORMAL","ttl":"0s","notification":{"sound":"default"}}`,
		},
		{
			"an expiry beyond 28 days, and one gone by",
			func(n *vendorapi.Notification) { n.Expires = c.now().Add(1000 * time.Hour) },
			`"notification":{"title":"Alice","body":"hi"},` + data +
				`,"android":{"priority":"HIGH","ttl":"2419200s","notification":{"sound":"default"}}`,
		},
		{
			"expired",
			func(n *vendorapi.Notification) { n.Expires = c.now().Add(-time.Hour) },
			`"notification":{"title":"Alice","body":"hi"},` + data +
				`,"android":{"priority":"HIGH","ttl":"0s","notification":{"sound":"default"}}`,
		},
		{
			"badge",
			func(n *vendorapi.Notification) { n.Kind, n.Badge = vendorapi.KindBadge, new(0) },
			`"data":{"badge":"0","kind":"badge"},"android":{"collapse_key":"badge","priority":"NORMAL","ttl":"0s"}`,
		},
		{
			"silent",
			func(n *vendorapi.Notification) { n.Kind = vendorapi.KindSilent },
			`"data":{"conversationId":"g~1","kind":"silent","messageId":"m1","seq":"7"},` +
				`"android":{"collapse_key":"silent","priority":"NORMAL","ttl":"0s"}`,
		},
		{
			"cancel",
			func(n *vendorapi.Notification) { n.Kind, n.CollapseID = vendorapi.KindCancel, "m1" },
			`"data":{"collapseId":"m1","conversationId":"g~1","kind":"cancel","messageId":"m1","seq":"7"},` +
				`"android":{"priority":"HIGH","ttl":"0s"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			it := item(device)
			tt.change(&it.Notification)
			o := send(t, s, it)
			if o.Class != vendorapi.Accepted || !strings.HasPrefix(o.VendorID, "projects/"+f.ProjectID+"/messages/") {
				t.Fatalf("Send = %+v; want accepted with a message name", o)
			}
			reqs := f.Requests()
			want := `{"message":{"token":"` + device + `",` + tt.want + `}}`
			if diff := cmp.Diff(want, string(reqs[len(reqs)-1].Body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	if got := len(f.Requests()); got != len(tests) || f.Fetches() != 1 {
		t.Errorf("%d requests, %d bearers; want %d, 1", got, f.Fetches(), len(tests))
	}
	noProblems(t, f)
}

func TestLongTextIsShortened(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	for _, body := range []string{strings.Repeat("世", 5000), strings.Repeat("\n", 5000)} {
		it := item(device)
		it.Notification.Title, it.Notification.Body = strings.Repeat("名", 500), body
		if o := send(t, s, it); o.Class != vendorapi.Accepted {
			t.Errorf("Send of a long text = %+v; want accepted", o)
		}
	}
	for _, r := range f.Requests() {
		if len(r.Body) > 4096 || len(r.Body) < 4080 || strings.Contains(string(r.Body), "\uFFFD") {
			t.Errorf("message has %d bytes; want nearly 4096, of whole characters", len(r.Body))
		}
	}
	noProblems(t, f)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		a    vendortest.Answer
		want vendorapi.Class
		code string
	}{
		{"unregistered", vendortest.Answer{Status: 404, Reason: "UNREGISTERED"}, vendorapi.TokenDead, "UNREGISTERED"},
		{"foreign sender", vendortest.Answer{Status: 403, Reason: "SENDER_ID_MISMATCH"}, vendorapi.TokenDead, "SENDER_ID_MISMATCH"},
		{"bad argument", vendortest.Answer{Status: 400, Reason: "INVALID_ARGUMENT"}, vendorapi.Rejected, "INVALID_ARGUMENT"},
		{"bad field", vendortest.Answer{Status: 400, Reason: "INVALID_ARGUMENT", BadField: "message.data"}, vendorapi.Rejected, "INVALID_ARGUMENT"},
		{"bad token", vendortest.Answer{Status: 400, Reason: "INVALID_ARGUMENT", BadField: "message.token"}, vendorapi.TokenDead, "INVALID_ARGUMENT"},
		{"web or APNs key", vendortest.Answer{Status: 401, Reason: "THIRD_PARTY_AUTH_ERROR"}, vendorapi.Misconfigured, "THIRD_PARTY_AUTH_ERROR"},
		{"no right", vendortest.Answer{Status: 403}, vendorapi.Misconfigured, "PERMISSION_DENIED"},
		{"no project", vendortest.Answer{Status: 404}, vendorapi.Misconfigured, "NOT_FOUND"},
		{"quota", vendortest.Answer{Status: 429, Reason: "QUOTA_EXCEEDED"}, vendorapi.Throttled, "QUOTA_EXCEEDED"},
		{"unavailable", vendortest.Answer{Status: 503, Reason: "UNAVAILABLE"}, vendorapi.Transient, "UNAVAILABLE"},
		{"internal", vendortest.Answer{Status: 500, Reason: "INTERNAL"}, vendorapi.Transient, "INTERNAL"},
		{"a proxy's error page", vendortest.Answer{Status: 502, Body: "<html>Alice: hi</html>"}, vendorapi.Transient, ""},
		{"an echo of the text", vendortest.Answer{Status: 400, Body: `{"error":{"status":"Alice: hi"}}`}, vendorapi.Rejected, ""},
		{"redirect", vendortest.Answer{Status: 307}, vendorapi.Misconfigured, ""},
		{"200 with HTML", vendortest.Answer{Body: "<html>log in</html>"}, vendorapi.Transient, ""},
		{"200 without a name", vendortest.Answer{Body: "{}"}, vendorapi.Transient, ""},
		{"too large", vendortest.Answer{Status: 413}, vendorapi.Rejected, ""},
	}
	f, s := start(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := fmt.Sprint(device, i)
			f.Script(token, tt.a)
			began := time.Now()
			o := send(t, s, item(token))
			if o.Class != tt.want || o.VendorCode != tt.code || o.Err == nil {
				t.Fatalf("Send = %+v; want class %s, code %q, an error", o, tt.want, tt.code)
			}
			if (o.Class == vendorapi.TokenDead) == o.DeadAt.Before(began) {
				t.Errorf("DeadAt = %v; want the send's begin for a dead token, else none", o.DeadAt)
			}
			if got := o.Err.Error(); strings.Contains(got, "Alice") || strings.Contains(got, device) {
				t.Errorf("error = %q; want one without text and token", got)
			}
			if want := tt.a.Status == 0; o.MaybeSent != want {
				t.Errorf("MaybeSent = %v; want %v", o.MaybeSent, want)
			}
		})
	}
	noProblems(t, f)
	if o := send(t, s, item("")); o.Class != vendorapi.TokenDead || o.DeadAt.IsZero() {
		t.Errorf("Send to an empty token = %+v; want dead", o)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	quota := vendortest.Answer{Status: 429, Reason: "QUOTA_EXCEEDED"}
	seconds, date := quota, vendortest.Answer{Status: 503, Reason: "UNAVAILABLE"}
	seconds.RetryAfter = "90"
	date.RetryAfter = c.now().Add(2 * time.Minute).UTC().Format(http.TimeFormat)
	f.Script(device, quota, seconds, date, vendortest.Answer{Status: 503, Reason: "UNAVAILABLE"})
	for _, want := range []time.Duration{time.Minute, 90 * time.Second, 2 * time.Minute, 0} {
		o := send(t, s, item(device))
		if o.RetryAfter > want || o.RetryAfter < want-2*time.Second {
			t.Errorf("RetryAfter = %v (%s); want %v", o.RetryAfter, o.Class, want)
		}
	}
}

func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	f, s := start(t, func(c *fcm.Config, _ *vendorapi.Options) { c.Timeout = 200 * time.Millisecond })
	f.Script(device, vendortest.Answer{Hang: true})
	if o := send(t, s, item(device)); o.Class != vendorapi.Transient || o.Err == nil {
		t.Errorf("Send of a hanging request = %+v; want Transient", o)
	}
}

func TestOthersPassAHangingRequest(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	f.Script("slow", vendortest.Answer{Delay: 10 * time.Millisecond})
	f.Script("hung", vendortest.Answer{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan vendorapi.Outcome, 1)
	go func() { done <- s.Send(ctx, []vendorapi.Item{item("hung")})[0] }()
	eventually(t, func() bool { return len(f.For("hung")) == 1 })
	accepted(t, s.Send(t.Context(), []vendorapi.Item{item("slow"), item(device)}))
	cancel()
	if o := <-done; o.Class != vendorapi.Transient || !o.MaybeSent || !errors.Is(o.Err, context.Canceled) {
		t.Errorf("Send of a hanging request = %+v; want Transient, maybe sent, canceled", o)
	}
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		if cond() {
			return
		}
		<-tick.C
	}
	t.Fatal("condition did not come true in 10 s")
}

func TestConnectionReset(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	f.Script(device, vendortest.Answer{Reset: true})
	if o := send(t, s, item(device)); o.Class != vendorapi.Transient || !o.MaybeSent {
		t.Errorf("Send on a connection that is cut = %+v; want Transient, maybe sent", o)
	}
	if o := send(t, s, item(device)); o.Class != vendorapi.Accepted {
		t.Errorf("Send after it = %+v; want accepted on a new connection", o)
	}
}

func many(n int) []vendorapi.Item {
	items := make([]vendorapi.Item, n)
	for i := range items {
		items[i] = item(fmt.Sprint(device, i))
	}
	return items
}

func accepted(t *testing.T, out []vendorapi.Outcome) {
	t.Helper()
	for i, o := range out {
		if o.Class != vendorapi.Accepted {
			t.Errorf("outcome %d = %+v; want accepted", i, o)
		}
	}
}

func TestExpiredBearerIsRefreshedOnce(t *testing.T) {
	t.Parallel()
	f, s := start(t, func(c *fcm.Config, _ *vendorapi.Options) { c.Concurrency = 100 })
	accepted(t, s.Send(t.Context(), many(100)))
	if f.Fetches() != 1 {
		t.Errorf("bearers after 100 first sends = %d; want 1", f.Fetches())
	}
	f.ExpireBearers()
	accepted(t, s.Send(t.Context(), many(100)))
	if f.Fetches() != 2 {
		t.Errorf("bearers after 100 refused sends = %d; want exactly one more", f.Fetches())
	}
	noProblems(t, f)
}

func TestBearerRefusedTwice(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	refuse := vendortest.Answer{Status: 401}
	f.Script(device, refuse, refuse)
	if o := send(t, s, item(device)); o.Class != vendorapi.Misconfigured || o.VendorCode != "UNAUTHENTICATED" {
		t.Errorf("Send refused with a fresh bearer = %+v; want Misconfigured", o)
	}
	if f.Fetches() != 2 || len(f.Requests()) != 2 {
		t.Errorf("%d bearers, %d requests; want 2, 2", f.Fetches(), len(f.Requests()))
	}
}

func TestBearerIsRenewedEarly(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	for i, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {50 * time.Minute, 1}, {6 * time.Minute, 2}, {54 * time.Minute, 2}, {90 * time.Minute, 3}} {
		c.advance(step.after)
		if o := send(t, s, item(device)); o.Class != vendorapi.Accepted {
			t.Fatalf("Send %d = %+v; want accepted", i, o)
		}
		if f.Fetches() != step.want {
			t.Errorf("bearers after send %d = %d; want %d", i, f.Fetches(), step.want)
		}
	}
}

func TestTokenEndpointFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		a    vendortest.Answer
		want vendorapi.Class
	}{
		{"refuses the account", vendortest.Answer{Status: 400, Body: `{"error":"invalid_grant"}`}, vendorapi.Misconfigured},
		{"is down", vendortest.Answer{Status: 503, Body: "no"}, vendorapi.Transient},
		{"is busy", vendortest.Answer{Status: 429, Body: "no"}, vendorapi.Transient},
		{"says nothing useful", vendortest.Answer{Status: 200, Body: "<html>"}, vendorapi.Transient},
		{"gives no token", vendortest.Answer{Status: 200, Body: "{}"}, vendorapi.Transient},
		{"hangs", vendortest.Answer{Hang: true}, vendorapi.Transient},
		{"cuts the connection", vendortest.Answer{Reset: true}, vendorapi.Transient},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, s := start(t, func(c *fcm.Config, _ *vendorapi.Options) {
				if tt.a.Hang {
					c.Timeout = 200 * time.Millisecond
				}
			})
			f.Script(vendortest.TokenEndpoint, tt.a, tt.a)
			for i, o := range s.Send(t.Context(), many(10)) {
				if o.Class != tt.want || o.Err == nil || o.MaybeSent {
					t.Errorf("outcome %d = %+v; want %s, not sent", i, o, tt.want)
				}
			}
			if n := len(f.Requests()); n != 0 {
				t.Errorf("requests = %d; want none without a bearer", n)
			}
		})
	}
}

func TestOldBearerServesWhileRenewalFails(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	accepted(t, s.Send(t.Context(), many(1)))
	c.advance(56 * time.Minute)
	down := vendortest.Answer{Status: 503}
	f.Script(vendortest.TokenEndpoint, down)
	accepted(t, s.Send(t.Context(), many(20)))
	if f.Fetches() != 1 {
		t.Errorf("bearers = %d; want the first one still", f.Fetches())
	}
	c.advance(2 * time.Second)
	accepted(t, s.Send(t.Context(), many(1)))
	if f.Fetches() != 2 {
		t.Errorf("bearers = %d; want a second when the endpoint is back", f.Fetches())
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f, s := start(t, func(c *fcm.Config, _ *vendorapi.Options) { c.Timeout = time.Minute })
	f.Script(vendortest.TokenEndpoint, vendortest.Answer{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan []vendorapi.Outcome, 1)
	go func() { done <- s.Send(ctx, many(100)) }()
	eventually(t, func() bool { return f.Asked() == 1 })
	cancel()
	for i, o := range <-done {
		if o.Class != vendorapi.Transient || o.Err == nil {
			t.Errorf("outcome %d = %+v; want Transient", i, o)
		}
	}
	accepted(t, s.Send(t.Context(), many(1))) // those that left have spoilt nothing
}

func TestNewRefusesAccount(t *testing.T) {
	t.Parallel()
	f := vendortest.NewFCM(t)
	account := string(f.ServiceAccount)
	swap := func(old, repl string) string { return strings.Replace(account, old, repl, 1) }
	tests := []struct{ name, account, want string }{
		{"no JSON", "secret", "not JSON"},
		{"another type", swap("service_account", "authorized_user"), "authorized_user"},
		{"no project", swap(f.ProjectID+`"`, `"`), "project_id"},
		{"token_uri without TLS", swap(f.URL, "http://localhost"), "token_uri"},
		{"no key", swap("BEGIN PRIVATE KEY", "BEGIN NOTHING"), "RSA key"},
	}
	for _, tt := range tests {
		_, err := fcm.New(fcm.Config{}, vendorapi.Options{Key: []byte(tt.account)})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: New error = %v; want one that says %q", tt.name, err, tt.want)
		}
	}
	if _, err := fcm.New(fcm.Config{Endpoint: f.URL}, vendorapi.Options{}); !errors.Is(err, vendorapi.ErrNotConfigured) {
		t.Errorf("New without account error = %v; want ErrNotConfigured", err)
	}
	if _, err := fcm.New(fcm.Config{ServiceAccountFile: "nowhere.json"}, vendorapi.Options{}); err == nil || errors.Is(err, vendorapi.ErrNotConfigured) {
		t.Errorf("New with a file that is not there error = %v; want one that says so", err)
	}
	if s, err := fcm.New(fcm.Config{}, vendorapi.Options{Key: f.ServiceAccount}); err != nil || s.Name() != "fcm" || !s.Caps().Replace {
		t.Errorf("New with an inline account = %v, %v; want a Sender", s, err)
	}
}
