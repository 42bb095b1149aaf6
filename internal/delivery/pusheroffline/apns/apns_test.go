package apns_test

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

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/apns"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const device = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

// start returns a fake and a Sender that reaches it as the built binary would: by files and addresses.
func start(t *testing.T, change ...func(*apns.Config, *vendorapi.Options)) (*vendortest.APNs, *apns.Sender) {
	t.Helper()
	f := vendortest.NewAPNs(t)
	cfg := apns.Config{
		Endpoint: f.URL, SandboxEndpoint: f.SandboxURL, KeyFile: f.KeyFile, KeyID: f.KeyID, TeamID: f.TeamID,
		Topic: f.Topic, CAFile: f.CAFile, Timeout: time.Minute,
	}
	var o vendorapi.Options
	for _, c := range change {
		c(&cfg, &o)
	}
	s, err := apns.New(cfg, o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return f, s
}

// clock is a settable clock for both sides.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func startAt(t *testing.T) (*vendortest.APNs, *apns.Sender, *clock) {
	t.Helper()
	c := newClock()
	f, s := start(t, func(_ *apns.Config, o *vendorapi.Options) { o.Now = c.now })
	f.SetClock(c.now)
	return f, s, c
}

func item(token string) vendorapi.Item {
	return vendorapi.Item{
		Target: vendorapi.Target{Provider: "apns", Token: token, Environment: vendorapi.Production},
		Notification: vendorapi.Notification{
			ConversationID: "g~1", MessageID: "m1", Seq: 7, Title: "Alice", Body: "hi", Expires: time.Unix(1900000000, 0),
		},
	}
}

func send(t *testing.T, s *apns.Sender, it vendorapi.Item) vendorapi.Outcome {
	t.Helper()
	out := s.Send(t.Context(), []vendorapi.Item{it})
	if len(out) != 1 {
		t.Fatalf("Send of one item = %d outcomes; want 1", len(out))
	}
	return out[0]
}

func noProblems(t *testing.T, f *vendortest.APNs) {
	t.Helper()
	if p := f.Problems(); len(p) > 0 {
		t.Errorf("APNs found problems: %q", p)
	}
}

// OFF-2
func TestSendChatMessage(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	it := item(device)
	it.Notification.PushID = "01890a5d-ac96-774b-bcce-b302099a8057"
	it.Notification.Badge = new(3)
	it.Notification.CollapseID = "m1"
	o := send(t, s, it)
	if o.Class != vendorapi.Accepted || o.VendorID != it.Notification.PushID || o.Err != nil {
		t.Fatalf("Send = %+v; want accepted with the push id", o)
	}
	noProblems(t, f)
	reqs := f.Requests()
	if len(reqs) != 1 {
		t.Fatalf("requests = %d; want exactly 1", len(reqs))
	}
	want := `{"aps":{"alert":{"title":"Alice","body":"hi"},"badge":3,"sound":"default","thread-id":"g~1",` +
		`"mutable-content":1},"conversationId":"g~1","messageId":"m1","seq":7}`
	if got := string(reqs[0].Body); got != want {
		t.Errorf("body = %s\nwant   %s", got, want)
	}
	for k, want := range map[string]string{
		"apns-topic": f.Topic, "apns-push-type": "alert", "apns-priority": "10", "apns-expiration": "1900000000",
		"apns-collapse-id": "m1", "apns-id": it.Notification.PushID, "content-type": "application/json",
	} {
		if got := reqs[0].Header.Get(k); got != want {
			t.Errorf("header %s = %q; want %q", k, got, want)
		}
	}
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*vendorapi.Notification)
		want   string
		header http.Header
	}{
		{
			name:   "now or never",
			change: func(n *vendorapi.Notification) { n.Expires = time.Time{} },
			want: `{"aps":{"alert":{"title":"Alice","body":"hi"},"sound":"default","thread-id":"g~1","mutable-content":1},` +
				`"conversationId":"g~1","messageId":"m1","seq":7}`,
			header: http.Header{"Apns-Expiration": {"0"}, "Apns-Priority": {"10"}},
		},
		{
			name: "normal priority, own thread, nothing unread, no HTML escapes",
			change: func(n *vendorapi.Notification) {
				n.Priority, n.Thread, n.Badge, n.Body = vendorapi.Normal, "t", new(0), "<a> & \"b\"\n"
			},
			want: `{"aps":{"alert":{"title":"Alice","body":"<a> & \"b\"\n"},"badge":0,"sound":"default","thread-id":"t",` +
				`"mutable-content":1},"conversationId":"g~1","messageId":"m1","seq":7}`,
			header: http.Header{"Apns-Priority": {"5"}},
		},
		{
			name:   "badge only",
			change: func(n *vendorapi.Notification) { n.Kind, n.Badge = vendorapi.KindBadge, new(0) },
			want:   `{"aps":{"badge":0}}`,
			header: http.Header{"Apns-Push-Type": {"alert"}, "Apns-Priority": {"5"}},
		},
		{
			name:   "silent",
			change: func(n *vendorapi.Notification) { n.Kind, n.Badge = vendorapi.KindSilent, new(4) },
			want:   `{"aps":{"content-available":1},"conversationId":"g~1","messageId":"m1","seq":7,"kind":"silent"}`,
			header: http.Header{"Apns-Push-Type": {"background"}, "Apns-Priority": {"5"}},
		},
		{
			name:   "cancel",
			change: func(n *vendorapi.Notification) { n.Kind, n.CollapseID = vendorapi.KindCancel, "m1" },
			want: `{"aps":{"content-available":1},"conversationId":"g~1","messageId":"m1","seq":7,"kind":"cancel",` +
				`"collapseId":"m1"}`,
			header: http.Header{"Apns-Push-Type": {"background"}, "Apns-Collapse-Id": nil},
		},
		{
			name:   "an id that is no UUID is left out",
			change: func(n *vendorapi.Notification) { n.PushID, n.Kind, n.Badge = "push-1", vendorapi.KindBadge, new(1) },
			want:   `{"aps":{"badge":1}}`,
			header: http.Header{"Apns-Id": nil},
		},
		{
			name: "a long collapse id is hashed",
			change: func(n *vendorapi.Notification) {
				n.Kind, n.CollapseID = vendorapi.KindAlert, strings.Repeat("x", 65)
			},
			want: `{"aps":{"alert":{"title":"Alice","body":"hi"},"sound":"default","thread-id":"g~1","mutable-content":1},` +
				`"conversationId":"g~1","messageId":"m1","seq":7}`,
			header: http.Header{"Apns-Collapse-Id": {"lTfF_fEgSC99WNJentWD9SwCtOME6oFNsWM61WWu1-k"}},
		},
	}
	f, s := start(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			it := item(device)
			tt.change(&it.Notification)
			if o := send(t, s, it); o.Class != vendorapi.Accepted {
				t.Fatalf("Send = %+v; want accepted", o)
			}
			reqs := f.Requests()
			last := reqs[len(reqs)-1]
			if diff := cmp.Diff(tt.want, string(last.Body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			for k, want := range tt.header {
				if diff := cmp.Diff(want, last.Header[k]); diff != "" {
					t.Errorf("header %s (-want +got):\n%s", k, diff)
				}
			}
		})
	}
	noProblems(t, f)
}

func TestLongTextIsShortened(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	for _, body := range []string{strings.Repeat("世", 5000), strings.Repeat("\x01", 5000), strings.Repeat("a", 3000) + strings.Repeat("👍", 1000)} {
		it := item(device)
		it.Notification.Title = strings.Repeat("名", 500)
		it.Notification.Body = body
		if o := send(t, s, it); o.Class != vendorapi.Accepted {
			t.Errorf("Send of a long text = %+v; want accepted", o)
		}
	}
	noProblems(t, f)
	for _, r := range f.Requests() {
		if len(r.Body) > 4096 || len(r.Body) < 4080 || strings.Contains(string(r.Body), "\uFFFD") {
			t.Errorf("payload has %d bytes; want nearly 4096, of whole characters", len(r.Body))
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		reason string
		want   vendorapi.Class
	}{
		{410, "Unregistered", vendorapi.TokenDead},
		{410, "ExpiredToken", vendorapi.TokenDead},
		{400, "BadDeviceToken", vendorapi.TokenDead},
		{400, "DeviceTokenNotForTopic", vendorapi.TokenDead},
		{403, "ExpiredProviderToken", vendorapi.AuthExpired},
		{403, "InvalidProviderToken", vendorapi.Misconfigured},
		{403, "MissingProviderToken", vendorapi.Misconfigured},
		{403, "BadCertificate", vendorapi.Misconfigured},
		{403, "BadCertificateEnvironment", vendorapi.Misconfigured},
		{403, "Forbidden", vendorapi.Misconfigured},
		{400, "TopicDisallowed", vendorapi.Misconfigured},
		{400, "MissingTopic", vendorapi.Misconfigured},
		{400, "BadTopic", vendorapi.Misconfigured},
		{429, "TooManyRequests", vendorapi.Throttled},
		{429, "TooManyProviderTokenUpdates", vendorapi.Throttled},
		{500, "InternalServerError", vendorapi.Transient},
		{503, "ServiceUnavailable", vendorapi.Transient},
		{503, "Shutdown", vendorapi.Transient},
		{400, "IdleTimeout", vendorapi.Transient},
		{413, "PayloadTooLarge", vendorapi.Rejected},
		{400, "BadCollapseId", vendorapi.Rejected},
		{400, "BadExpirationDate", vendorapi.Rejected},
		{400, "BadMessageId", vendorapi.Rejected},
		{400, "BadPriority", vendorapi.Rejected},
		{400, "DuplicateHeaders", vendorapi.Rejected},
		{400, "InvalidPushType", vendorapi.Rejected},
		{400, "PayloadEmpty", vendorapi.Rejected},
		{400, "MissingDeviceToken", vendorapi.Rejected},
		{404, "BadPath", vendorapi.Rejected},
		{405, "MethodNotAllowed", vendorapi.Rejected},
		{400, "SomethingNew", vendorapi.Rejected},
		{403, "SomethingNew", vendorapi.Misconfigured},
		{410, "", vendorapi.TokenDead},
		{429, "", vendorapi.Throttled},
		{502, "", vendorapi.Transient},
		{307, "", vendorapi.Misconfigured},
		{204, "", vendorapi.Transient},
	}
	f, s := start(t)
	for i, tt := range tests {
		t.Run(fmt.Sprint(tt.status, tt.reason), func(t *testing.T) {
			token := fmt.Sprintf("%s%02x", device, i)
			script := vendortest.Answer{Status: tt.status, Reason: tt.reason}
			f.Script(token, script, script) // the second for those that are tried again
			began := time.Now()
			o := send(t, s, item(token))
			if o.Class != tt.want || o.VendorCode != tt.reason || o.Err == nil {
				t.Errorf("Send = %+v; want class %s, code %q, an error", o, tt.want, tt.reason)
			}
			if o.Class == vendorapi.TokenDead && o.DeadAt.Before(began) {
				t.Errorf("DeadAt = %v; want when the send began, %v", o.DeadAt, began)
			}
			if strings.Contains(fmt.Sprint(o.Err), device) {
				t.Errorf("error = %q; want one without the token", o.Err)
			}
		})
	}
	noProblems(t, f)
}

func TestDeathHasApplesTime(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	died := time.UnixMilli(1700000000123)
	f.Script(device, vendortest.Answer{Status: 410, Reason: "Unregistered", Timestamp: died})
	it := item(device)
	it.Target.RegisteredAt = died.Add(time.Minute)
	o := send(t, s, it)
	if o.Class != vendorapi.TokenDead || !o.DeadAt.Equal(died) || o.Kills(it.Target) {
		t.Errorf("Send = %+v, kills %v; want dead at %v, which spares a later registration", o, o.Kills(it.Target), died)
	}
}

func TestUnreadableErrorGoesByStatus(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	f.Script(device, vendortest.Answer{Status: 503, Body: "<html>Alice: hi</html>"},
		vendortest.Answer{Status: 503, Body: `{"reason":"Alice: hi"}`})
	for range 2 {
		if o := send(t, s, item(device)); o.Class != vendorapi.Transient || strings.Contains(o.Err.Error()+o.VendorCode, "Alice") {
			t.Errorf("Send = %+v; want Transient that quotes nothing", o)
		}
	}
}

func TestOtherEnvironmentIsTriedOnce(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	moved, fake, busy := device+"01", device+"02", device+"03"
	f.LivesInSandbox(moved)
	bad := vendortest.Answer{Status: 400, Reason: "BadDeviceToken"}
	f.Script(fake, bad, bad)
	f.Script(busy, bad, vendortest.Answer{Status: 503, Reason: "Shutdown"})
	out := s.Send(t.Context(), []vendorapi.Item{item(moved), item(fake), item(busy)})
	if o := out[0]; o.Class != vendorapi.Accepted || o.Environment != vendorapi.Sandbox {
		t.Errorf("token of the sandbox = %+v; want accepted, environment sandbox", o)
	}
	if o := out[1]; o.Class != vendorapi.TokenDead || o.Environment != "" || o.DeadAt.IsZero() {
		t.Errorf("token of neither = %+v; want dead", o)
	}
	if o := out[2]; o.Class != vendorapi.Transient {
		t.Errorf("token with the other environment down = %+v; want Transient", o)
	}
	for _, token := range []string{moved, fake, busy} {
		r := f.For(token)
		if len(r) != 2 || r[0].Sandbox || !r[1].Sandbox {
			t.Errorf("requests for …%s = %d; want one to production, one to the sandbox", token[64:], len(r))
		}
	}
	it := item(moved)
	it.Target.Environment = vendorapi.Sandbox
	if o := send(t, s, it); o.Class != vendorapi.Accepted || o.Environment != "" || len(f.For(moved)) != 3 {
		t.Errorf("token registered for the sandbox = %+v; want accepted at once", o)
	}
}

// What clients choose must neither change the address nor stop the vendor for all.
func TestRefusedWithoutRequest(t *testing.T) {
	t.Parallel()
	f, s := start(t)
	foreign := item(device)
	foreign.Target.AppID = "com.example.other"
	huge := item(device)
	huge.Notification.MessageID = strings.Repeat("m", 5000)
	noNumber := item(device)
	noNumber.Notification.Kind = vendorapi.KindBadge
	unknown := item(device)
	unknown.Notification.Kind = 99
	tests := []struct {
		name string
		it   vendorapi.Item
		want vendorapi.Class
	}{
		{"path in the token", item("../../etc"), vendorapi.TokenDead},
		{"empty token", item(""), vendorapi.TokenDead},
		{"endless token", item(strings.Repeat("a", 500)), vendorapi.TokenDead},
		{"foreign app", foreign, vendorapi.Rejected},
		{"ids alone are too long", huge, vendorapi.Rejected},
		{"badge without number", noNumber, vendorapi.Rejected},
		{"unknown kind", unknown, vendorapi.Rejected},
	}
	for _, tt := range tests {
		if o := send(t, s, tt.it); o.Class != tt.want || o.Err == nil {
			t.Errorf("%s: Send = %+v; want %s", tt.name, o, tt.want)
		}
	}
	if n := f.Connections(); n != 0 {
		t.Errorf("connections = %d; want none", n)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	date := c.now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	f.Script(device,
		vendortest.Answer{Status: 429, Reason: "TooManyRequests", RetryAfter: "30"},
		vendortest.Answer{Status: 503, Reason: "ServiceUnavailable", RetryAfter: date})
	if o := send(t, s, item(device)); o.Class != vendorapi.Throttled || o.RetryAfter != 30*time.Second {
		t.Errorf("Retry-After in seconds: %+v; want Throttled for 30s", o)
	}
	o := send(t, s, item(device))
	if o.Class != vendorapi.Transient || o.RetryAfter <= 88*time.Second || o.RetryAfter > 90*time.Second {
		t.Errorf("Retry-After as a date: %+v; want Transient for 90s less the cut fraction", o)
	}
}

func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	f, s := start(t, func(c *apns.Config, _ *vendorapi.Options) { c.Timeout = 200 * time.Millisecond })
	f.Script(device, vendortest.Answer{Hang: true})
	o := send(t, s, item(device))
	if o.Class != vendorapi.Transient || !errors.Is(o.Err, context.DeadlineExceeded) {
		t.Errorf("Send of a hanging request = %+v; want Transient, deadline", o)
	}
	if strings.Contains(o.Err.Error(), device) {
		t.Errorf("error = %q; want one without the token", o.Err)
	}
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

func TestServerDown(t *testing.T) {
	t.Parallel()
	_, s := start(t, func(c *apns.Config, _ *vendorapi.Options) { c.Endpoint = "https://127.0.0.1:1" })
	if o := send(t, s, item(device)); o.Class != vendorapi.Transient || o.MaybeSent {
		t.Errorf("Send to a closed port = %+v; want Transient, not sent", o)
	}
}

func TestGoAway(t *testing.T) {
	t.Parallel()
	t.Run("with the answer", func(t *testing.T) {
		t.Parallel()
		f, s := start(t)
		f.Script(device, vendortest.Answer{GoAway: true})
		for range 2 {
			if o := send(t, s, item(device)); o.Class != vendorapi.Accepted {
				t.Errorf("Send = %+v; want accepted", o)
			}
		}
		if len(f.Requests()) != 2 || f.Connections() != 2 {
			t.Errorf("%d requests on %d connections; want 2 on 2", len(f.Requests()), f.Connections())
		}
	})
	t.Run("instead of the answer", func(t *testing.T) {
		t.Parallel()
		f, s := start(t)
		f.GoAwayConnections(2)
		if o := send(t, s, item(device)); o.Class != vendorapi.Accepted {
			t.Errorf("Send = %+v; want accepted on another connection", o)
		}
		if len(f.Requests()) != 1 || f.Connections() != 3 {
			t.Errorf("%d requests on %d connections; want 1 on 3", len(f.Requests()), f.Connections())
		}
	})
}

// A connection that goes away with a request hanging on it must not hold up the next one.
func TestGoAwayWhileARequestHangs(t *testing.T) {
	t.Parallel()
	f, s := start(t, func(c *apns.Config, _ *vendorapi.Options) { c.Timeout = time.Minute })
	hung := device + "01"
	f.Script(hung, vendortest.Answer{Hang: true})
	f.Script(device, vendortest.Answer{GoAway: true}, vendortest.Answer{Delay: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan vendorapi.Outcome, 1)
	go func() { done <- s.Send(ctx, []vendorapi.Item{item(hung)})[0] }()
	eventually(t, func() bool { return len(f.Requests()) == 1 })
	for range 3 {
		if o := send(t, s, item(device)); o.Class != vendorapi.Accepted {
			t.Errorf("Send = %+v; want accepted", o)
		}
	}
	select {
	case o := <-done:
		t.Errorf("hanging Send = %+v before the others were done; want it to hang still", o)
		done <- o
	default:
	}
	cancel()
	if o := <-done; o.Class != vendorapi.Transient || !o.MaybeSent || !errors.Is(o.Err, context.Canceled) {
		t.Errorf("hanging Send = %+v; want Transient, maybe sent, canceled", o)
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

func TestFewConnections(t *testing.T) {
	t.Parallel()
	f, s := start(t, func(c *apns.Config, _ *vendorapi.Options) { c.Concurrency = 8 })
	items := make([]vendorapi.Item, 200)
	for i := range items {
		items[i] = item(fmt.Sprintf("%s%04x", device, i))
	}
	items[100].Target.Token = "not hex"
	for i, o := range s.Send(t.Context(), items) {
		if want := i != 100; (o.Class == vendorapi.Accepted) != want {
			t.Errorf("outcome %d = %+v; want accepted %v", i, o, want)
		}
	}
	noProblems(t, f)
	if len(f.Requests()) != 199 || f.Connections() > 2 || f.ProviderTokens() != 1 {
		t.Errorf("%d requests, %d connections, %d provider tokens; want 199, at most 2, 1",
			len(f.Requests()), f.Connections(), f.ProviderTokens())
	}
}
