package pusheroffline_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// OFF-1, OFF-2: exactly one request for each absent device, also when the task comes twice, as it is or under another
// id; none for users without a token. Invariant 9: neither text nor token is in the log.
func TestOneRequestPerDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cid, dan, end := w.device(t, "cid", providerAPNs), w.device(t, "dan", providerFCM), w.device(t, "end", providerAPNs)
	e := w.text()
	w.publish(t, "t1", to(e, "cid", "dan", "nobody"))
	w.publish(t, "t2", to(e, "cid", "dan", "nobody"))
	eventually(t, "a request for each", func() bool { return len(w.apns.For(cid)) > 0 && len(w.fcm.For(dan)) > 0 })
	w.publish(t, "t3", to(e, "cid", "dan"), to(w.text(), "end"))
	eventually(t, "a request for the last one", func() bool { return len(w.apns.For(end)) > 0 })
	if a, f := len(w.apns.For(cid)), len(w.fcm.For(dan)); a != 1 || f != 1 {
		t.Errorf("%d requests to APNs and %d to FCM; want 1 and 1", a, f)
	}
	if p := append(w.apns.Problems(), w.fcm.Problems()...); len(p) > 0 {
		t.Errorf("vendors found fault with requests: %v", p)
	}
	if log := w.log.String(); strings.Contains(log, "plaintext") || strings.Contains(log, cid) {
		t.Errorf("the log holds a text or a token:\n%s", log)
	}
}

// What was handed back concerns one device only.
func TestOneDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cid, end := w.device(t, "cid", providerAPNs), w.device(t, "end", providerAPNs)
	other, mine := to(w.text(), "cid"), to(w.text(), "cid")
	other.DeviceId, mine.DeviceId = "d2", "d1"
	w.publish(t, "t1", other, mine, to(w.text(), "end"))
	eventually(t, "the last request", func() bool { return len(w.apns.For(end)) > 0 && len(w.apns.For(cid)) > 0 })
	if got := len(w.apns.For(cid)); got != 1 {
		t.Errorf("%d requests; want 1, for the device itself", got)
	}
}

// A vendor is told no more than the recipient's settings allow.
func TestPreview(t *testing.T) {
	t.Parallel()
	direct := func(e *messagev1.Entry) *messagev1.Entry { e.ConversationId = "d~ann~cid"; return e }
	const (
		all  = userv1.PushPreview_PUSH_PREVIEW_ALL
		name = userv1.PushPreview_PUSH_PREVIEW_NAME
		none = userv1.PushPreview_PUSH_PREVIEW_NONE
	)
	w := newWorld(t, nil)
	inbox := func(e *messagev1.Entry) *messagev1.Entry {
		e.ConversationId, e.Kind = "i~cid", messagev1.EntryKind_ENTRY_KIND_FRIEND_REQUEST
		e.Body = &messagev1.Entry_FriendRequest{FriendRequest: &messagev1.FriendRequest{UserId: "ann", Message: "the plaintext"}}
		return e
	}
	later := func(e *messagev1.Entry) *messagev1.Entry { e.Kind, e.Body = 77, nil; return e }
	tests := []struct {
		name        string
		preview     userv1.PushPreview
		entry       *messagev1.Entry
		title, body string
	}{
		{"group", all, w.text(), "The team", "Ann: the plaintext"},
		{"direct", all, direct(w.text()), "Ann", "the plaintext"},
		{"friend request", all, inbox(w.text()), "Ann", "wants to add you as a friend"},
		{"a kind of a later version", all, later(w.text()), "The team", "Ann: New message"},
		{"name only", name, w.text(), "Ann", "New message"},
		{"nothing", none, w.text(), "OceanChat", "New message"},
		{"nothing, friend request", none, inbox(w.text()), "OceanChat", "New message"},
		{"a setting of a later version", 99, w.text(), "OceanChat", "New message"},
	}
	for i, tt := range tests {
		user := fmt.Sprintf("user%d", i)
		w.preview[user] = tt.preview
		token := w.device(t, user, providerAPNs)
		w.publish(t, user, to(tt.entry, user))
		eventually(t, tt.name, func() bool { return len(w.apns.For(token)) > 0 })
		var got struct {
			APS struct {
				Alert struct{ Title, Body string }
			}
			ConversationID, MessageID string
			Seq                       uint64
		}
		if err := json.Unmarshal(w.apns.For(token)[0].Body, &got); err != nil {
			t.Fatal(err)
		}
		if a := got.APS.Alert; a.Title != tt.title || a.Body != tt.body {
			t.Errorf("%s: notification = %q, %q; want %q, %q", tt.name, a.Title, a.Body, tt.title, tt.body)
		}
		if got.ConversationID != tt.entry.GetConversationId() || got.MessageID != tt.entry.GetMessageId() || got.Seq != tt.entry.GetSeq() {
			t.Errorf("%s: notification is about %+v; want %s", tt.name, got, tt.entry.GetMessageId())
		}
	}
}

// A token that the vendor calls dead is removed, unless it was registered again since it died.
func TestDeadToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cid, dan, eve := w.device(t, "cid", providerAPNs), w.device(t, "dan", providerFCM), w.device(t, "eve", providerAPNs)
	w.apns.Script(cid, vendortest.Answer{Status: 410, Reason: "Unregistered", Timestamp: time.Now()})
	w.fcm.Script(dan, vendortest.Answer{Status: 404, Reason: "UNREGISTERED"})
	w.apns.Script(eve, vendortest.Answer{Status: 410, Reason: "Unregistered", Timestamp: time.Now().Add(-24 * time.Hour)})
	w.publish(t, "t1", to(w.text(), "cid", "dan", "eve"))
	eventually(t, "the dead tokens are gone", func() bool {
		_, a := w.tokens.get("cid", "d1")
		_, f := w.tokens.get("dan", "d1")
		return !a && !f && w.metric(t, "outcomes_total", "token_dead") == 3
	})
	if _, ok := w.tokens.get("eve", "d1"); !ok {
		t.Errorf("a token registered after the death of an older one was removed")
	}
	w.publish(t, "t2", to(w.text(), "cid", "dan", "eve"))
	eventually(t, "the next one", func() bool { return len(w.apns.For(eve)) == 2 })
	if a, f := len(w.apns.For(cid)), len(w.fcm.For(dan)); a != 1 || f != 1 {
		t.Errorf("%d and %d requests for dead tokens; want 1 and 1", a, f)
	}
}

// Invariant 7: what fails comes again a bounded number of times, then it is parked; what never will succeed is parked
// at once.
func TestRetries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *pusheroffline.Config) { c.Tries = 3 })
	fail := vendortest.Answer{Status: 503, Reason: "ServiceUnavailable"}
	once, ever, bad := w.device(t, "once", providerAPNs), w.device(t, "ever", providerAPNs), w.device(t, "bad", providerAPNs)
	w.apns.Script(once, fail)
	w.apns.Script(ever, fail, fail, fail, fail, fail)
	w.apns.Script(bad, vendortest.Answer{Status: 400, Reason: "BadPriority"})
	w.publish(t, "t1", to(w.text(), "once", "ever", "bad"))
	eventually(t, "two parked, one accepted", func() bool {
		return w.metric(t, "parked_total", "apns") == 2 && w.metric(t, "outcomes_total", "accepted") == 1
	})
	if a, b, c := len(w.apns.For(once)), len(w.apns.For(ever)), len(w.apns.For(bad)); a != 2 || b != 3 || c != 1 {
		t.Errorf("requests = %d, %d, %d; want 2, 3, 1", a, b, c)
	}
	first, second := w.apns.For(once)[0].Header, w.apns.For(once)[1].Header
	for _, h := range []string{"apns-id", "apns-collapse-id"} {
		if a, b := first.Get(h), second.Get(h); a == "" || a != b {
			t.Errorf("%s of both tries = %q, %q; want the same", h, a, b)
		}
	}
}

// The database is away: the task waits for it.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cid := w.device(t, "cid", providerAPNs)
	w.tokens.mu.Lock()
	w.tokens.fail = 1
	w.tokens.mu.Unlock()
	w.publish(t, "t1", to(w.text(), "cid"))
	eventually(t, "the request", func() bool { return len(w.apns.For(cid)) == 1 })
}

func TestTooOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cid := w.device(t, "cid", providerAPNs)
	old := w.text()
	old.SentAt = timestamppb.New(time.Now().Add(-2 * time.Hour))
	w.publish(t, "t1", to(old, "cid"), to(w.text(), "cid"))
	eventually(t, "the fresh one", func() bool { return len(w.apns.For(cid)) > 0 })
	if got := w.metric(t, "expired_total"); got != 1 || len(w.apns.For(cid)) != 1 {
		t.Errorf("expired = %v, requests = %d; want 1, 1", got, len(w.apns.For(cid)))
	}
}

// OFF-2: a vendor that never answers leaves the other's queue moving, and the splitting, too.
func TestIsolation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *pusheroffline.Config) { c.Workers, c.FCM.Timeout = 2, time.Minute })
	for i := range 20 {
		user := fmt.Sprintf("slow%d", i)
		w.fcm.Script(w.device(t, user, providerFCM), vendortest.Answer{Hang: true})
		w.publish(t, user, to(w.text(), user))
	}
	eventually(t, "FCM hangs", func() bool { return len(w.fcm.Requests()) == 2 })
	cid := w.device(t, "cid", providerAPNs)
	for range 20 {
		e := w.text()
		w.publish(t, e.GetMessageId(), to(e, "cid"))
	}
	eventually(t, "all of APNs", func() bool { return len(w.apns.For(cid)) == 20 })
	if got := len(w.fcm.Requests()); got != 2 {
		t.Errorf("%d requests to FCM; want 2, its own bound", got)
	}
}

// A vendor that refuses our set-up is left alone; no token is touched, and it goes on when the set-up is right again.
func TestMisconfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cid := w.device(t, "cid", providerAPNs)
	w.apns.Script(cid, vendortest.Answer{Status: 403, Reason: "InvalidProviderToken"})
	w.publish(t, "t1", to(w.text(), "cid"))
	eventually(t, "the second try", func() bool { return len(w.apns.For(cid)) == 2 && w.metric(t, "outcomes_total", "accepted") == 1 })
	if w.tokens.count() != 1 {
		t.Errorf("the token was removed")
	}
	if !strings.Contains(w.log.String(), "refuses our set-up") {
		t.Errorf("the operator was not told:\n%s", w.log)
	}
}

// A vendor that is down for longer than the tries of a notification last costs it none, also where it is the only one.
func TestOutageOfTheQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *pusheroffline.Config) { c.Tries = 8 }) // with pauses by chance, more than 2 s together
	ann := w.device(t, "ann", providerAPNs)
	w.apns.Script(ann, slices.Repeat([]vendortest.Answer{{Status: 503, Reason: "ServiceUnavailable"}}, 12)...)
	w.publish(t, "t1", to(w.text(), "ann"))
	eventually(t, "an answer that counts", func() bool {
		return w.metric(t, "outcomes_total", "accepted")+w.metric(t, "parked_total") == 1
	})
	if requests, parked := len(w.apns.For(ann)), w.metric(t, "parked_total"); requests != 13 || parked != 0 {
		t.Errorf("%d requests, %v given up; want 13, 0", requests, parked)
	}
}

// A wrong set-up must not delete everybody's tokens.
func TestMassDeletionGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var users []string
	for i := range 40 {
		users = append(users, fmt.Sprintf("user%d", i))
		dead := vendortest.Answer{Status: 410, Reason: "Unregistered", Timestamp: time.Now()}
		w.apns.Script(w.device(t, users[i], providerAPNs), dead, dead, dead, dead, dead)
	}
	w.publish(t, "t1", to(w.text(), users...))
	eventually(t, "the guard", func() bool { return w.metric(t, "outcomes_total", "token_dead") > 12 })
	if got := w.tokens.count(); got < 30 {
		t.Errorf("%d of 40 tokens are left; want at least 30", got)
	}
}

// Without credentials a task ends with a line and a metric, and nothing comes again.
func TestNotConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *pusheroffline.Config) { c.FCM.ServiceAccountFile = "" })
	w.device(t, "dan", providerFCM)
	w.device(t, "fay", pushv1.Provider_PROVIDER_HUAWEI)
	cid := w.device(t, "cid", providerAPNs)
	for range 3 {
		e := w.text()
		w.publish(t, e.GetMessageId(), to(e, "dan", "fay", "cid"))
	}
	eventually(t, "APNs' part", func() bool { return len(w.apns.For(cid)) == 3 && w.metric(t, "tasks_total") == 3 })
	for _, vendor := range []string{"fcm", "huawei"} {
		if got := w.metric(t, "unconfigured_total", vendor); got != 3 {
			t.Errorf("unconfigured %s = %v; want 3", vendor, got)
		}
		if got := strings.Count(w.log.String(), "not configured; its notifications are dropped\" vendor="+vendor); got != 1 {
			t.Errorf("%d lines about %s; want 1:\n%s", got, vendor, w.log)
		}
	}
	if got := len(w.fcm.Requests()); got != 0 {
		t.Errorf("%d requests to FCM; want none", got)
	}
}

// A task that cannot be read is parked and stops nothing.
func TestUnreadableTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.enqueue(t, backbone.PushOffline, "task", "x", []byte("\xff no task"))
	w.enqueue(t, backbone.PushOffline, "vendor.apns", "y", []byte("\xff no task"))
	w.enqueue(t, backbone.Events, "user.loggedOut", "z", []byte("{"))
	cid := w.device(t, "cid", providerAPNs)
	w.publish(t, "t1", to(w.text(), "cid"))
	eventually(t, "the good one, and the bad ones parked", func() bool {
		return len(w.apns.For(cid)) == 1 && w.metric(t, "parked_total") == 3
	})
}

// A token whose environment was wrong is tried in the other one, which is stored.
func TestEnvironmentIsLearnt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cid := w.device(t, "cid", providerAPNs)
	w.apns.LivesInSandbox(cid)
	w.publish(t, "t1", to(w.text(), "cid"))
	eventually(t, "the environment", func() bool {
		got, _ := w.tokens.get("cid", "d1")
		return got.Environment == int32(pushv1.Environment_ENVIRONMENT_SANDBOX)
	})
}

// A device that logged out gets nothing any more, unless it has registered again since.
func TestLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.device(t, "cid", providerAPNs)
	w.device(t, "dan", providerAPNs)
	logout := func(user string, at time.Time) {
		data, err := wire.MarshalJSON(&authv1.UserEvent{
			EventId: user, Type: "loggedOut", UserId: user, DeviceId: "d1", At: timestamppb.New(at), Platform: authv1.Platform_PLATFORM_IOS,
		})
		if err != nil {
			t.Fatal(err)
		}
		w.enqueue(t, backbone.Events, "user.loggedOut", user, data)
	}
	logout("dan", time.Now().Add(-2*time.Hour))
	logout("cid", time.Now())
	eventually(t, "both events", func() bool { return w.metric(t, "logouts_total") == 2 })
	if _, ok := w.tokens.get("cid", "d1"); ok {
		t.Errorf("the token of a device that logged out is still there")
	}
	if _, ok := w.tokens.get("dan", "d1"); !ok {
		t.Errorf("a token that was registered after the log-out was removed")
	}
}

// Which session registered a token decides, not the clocks of the process that stored it and of the one that ended the
// session.
func TestLogoutGoesBySession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for user, ended := range map[string]chat.SessionID{"cid": "s1", "dan": "s0"} {
		at := time.Now().Add(map[string]time.Duration{"cid": -time.Hour, "dan": time.Hour}[user])
		err := w.tokens.Put(t.Context(), store.PushToken{
			UserID: chat.UserID(user), DeviceID: "d1", SessionID: "s1", Provider: int32(providerAPNs), Token: user, RegisteredAt: time.Now(),
		})
		if err != nil {
			t.Fatal(err)
		}
		data, err := wire.MarshalJSON(&authv1.UserEvent{
			EventId: user, Type: "loggedOut", UserId: user, SessionId: string(ended), DeviceId: "d1", At: timestamppb.New(at),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.enqueue(t, backbone.Events, "user.loggedOut", user, data)
	}
	eventually(t, "both events", func() bool { return w.metric(t, "logouts_total") == 2 })
	if _, ok := w.tokens.get("cid", "d1"); ok {
		t.Errorf("a token of an ended session, whose clock was behind, is still there")
	}
	if _, ok := w.tokens.get("dan", "d1"); !ok {
		t.Errorf("the token of the next session was removed, as the clock of the one that ended was ahead")
	}
}

// Half a set of credentials is an error that names what is missing, not a vendor that is silently off.
func TestNewNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	var cfg pusheroffline.Config
	cfg.APNs.KeyID = "ABC123DEFG"
	_, err := pusheroffline.New(cfg, pusheroffline.Deps{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err == nil || errors.Is(err, vendorapi.ErrNotConfigured) || !strings.Contains(err.Error(), "key_file") {
		t.Errorf("New with a key id only = %v; want an error that names key_file", err)
	}
}
