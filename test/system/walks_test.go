package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
	"github.com/oceanchat/oceanchat/test/client"
)

// AUTH-1, AUTH-2, AUTH-4, APIGW-1: the first walk of SYSTEM.md. Client to api-gateway to auth, a JWT back, and the
// domain event for whoever reads it over NATS.
func TestLoginWalk(t *testing.T) {
	listen := freeAddr(t)
	s := start(t, "--nats-listen", listen)
	u := s.user("ann")
	var me struct {
		User struct{ UserID, Username, Nickname string }
	}
	if err := u.Do(t.Context(), "GET", "/users/me", nil, &me); err != nil || me.User.UserID != u.ID || me.User.Nickname != "ANN" {
		t.Fatalf("GET /users/me = %+v, %v; want %s", me, err, u.ID)
	}
	err := u.Do(t.Context(), "POST", "/auth/password", client.Object{"oldPassword": u.Password, "newPassword": "another good one"}, nil)
	if err != nil {
		t.Fatalf("change the password: %v", err)
	}
	if err := u.Do(t.Context(), "POST", "/auth/logout", nil, nil); err != nil {
		t.Fatalf("log out: %v", err)
	}
	if err := u.Do(t.Context(), "GET", "/users/me", nil, nil); client.ReasonOf(err) != "SESSION_ENDED" {
		t.Errorf("the next request after log-out = %v; want SESSION_ENDED", err)
	}
	want := []string{"registered", "loggedIn", "passwordChanged", "loggedOut"}
	var got []string
	for _, e := range events(t, s, listen, len(want)) {
		if e.UserID != u.ID || e.EventID == "" || e.At.IsZero() {
			t.Errorf("event %+v; want user %s, an id and a time", e, u.ID)
		}
		if e.Type != "registered" && e.Type != "passwordChanged" && e.DeviceID != u.Device {
			t.Errorf("event %+v; want device %s", e, u.Device)
		}
		got = append(got, e.Type)
	}
	if !slices.Equal(got, want) {
		t.Errorf("events = %q; want %q", got, want)
	}
}

type userEvent struct {
	EventID, Type, UserID, SessionID, DeviceID, Platform string
	At                                                   time.Time
}

// events reads the first n domain events as another program would: with the credentials that the server wrote.
func events(t *testing.T, s *server, listen string, n int) []userEvent {
	t.Helper()
	url := "nats://" + listen
	if !oneProcess(t) {
		url = s.setting("OCEANCHAT_NATS_URLS")
	}
	user, password := s.nats()
	nc, err := nats.Connect(url, nats.UserInfo(user, password))
	if err != nil {
		t.Fatalf("connect with the generated credentials: %v", err)
	}
	t.Cleanup(nc.Close)
	if wrong, err := nats.Connect(url); err == nil {
		wrong.Close()
		t.Error("NATS lets in who has no credentials")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(t.Context(), "OC_EVENTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatalf("read OC_EVENTS: %v", err)
	}
	var out []userEvent
	for ctx := within(t, 20*time.Second); len(out) < n; {
		m, err := consumer.Next(jetstream.FetchContext(ctx))
		if errors.Is(err, nats.ErrNoResponders) && ctx.Err() == nil {
			pause() // the servers of a cluster do not know the new consumer yet
			continue
		}
		if err != nil {
			t.Fatalf("event %d: %v", len(out)+1, err)
		}
		var e userEvent
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatalf("event %s: %v", m.Data(), err)
		}
		if m.Subject() != "auth.event.user."+e.Type {
			t.Errorf("a %s event came under %s", e.Type, m.Subject())
		}
		out = append(out, e)
	}
	return out
}

// nats returns who may connect to the server's NATS.
func (s *server) nats() (user, password string) {
	s.t.Helper()
	if !oneProcess(s.t) {
		return s.setting("OCEANCHAT_NATS_USER"), s.setting("OCEANCHAT_NATS_PASSWORD")
	}
	secret, err := os.ReadFile(filepath.Join(s.dir, "nats-credentials"))
	if err != nil {
		s.t.Fatal(err)
	}
	return credential(s.t, secret, "user"), credential(s.t, secret, "password")
}

func credential(t *testing.T, file []byte, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `[:=]\s*(\S+)`).FindSubmatch(file)
	if m == nil {
		t.Fatalf("no %s in nats-credentials", name)
	}
	return string(m[1])
}

// pushFlags points the server at the vendors' stand-ins.
func pushFlags(a *vendortest.APNs, f *vendortest.FCM, aCA, fCA string) []string {
	return []string{
		"--push-apns-endpoint", a.URL, "--push-apns-sandbox-endpoint", a.SandboxURL, "--push-apns-key-file", a.KeyFile,
		"--push-apns-key-id", a.KeyID, "--push-apns-team-id", a.TeamID, "--push-apns-topic", a.Topic, "--push-apns-ca-file", aCA,
		"--push-fcm-endpoint", f.URL, "--push-fcm-service-account-file", f.ServiceAccountFile, "--push-fcm-ca-file", fCA,
	}
}

// The second walk of SYSTEM.md: A sends to a group of B, on line, and C and D, off line. WSGW-1 to WSGW-4, ROUTER-1,
// ROUTER-2, MSG-1 to MSG-3, GROUP-2, ORCH-1 to ORCH-3, RT-1, RT-2, OFF-1, OFF-2, PERS-1, PERS-2, QRY-1.
func TestGroupWalk(t *testing.T) {
	apple, google := vendortest.NewAPNs(t), vendortest.NewFCM(t)
	s := start(t, pushFlags(apple, google, apple.CAFile, google.CAFile)...)
	ann, bob, cid, dan := s.user("ann"), s.user("bob"), s.user("cid"), s.user("dan")
	const iphone = "11112222333344445555666677778888aaaabbbbccccddddeeeeffff00001111"
	for _, u := range []*client.User{bob, cid} {
		register(t, u, client.Object{"provider": "apns", "token": iphone[:63] + u.Username[:1], "appId": apple.Topic, "environment": "production", "language": "en"})
	}
	register(t, dan, client.Object{"provider": "fcm", "token": "android-dan", "appId": "com.example", "language": "en"})

	a, b := connect(t, ann), connect(t, bob)
	var made struct{ Group struct{ GroupID string } }
	err := a.Call(t.Context(), "group.create", client.Object{"name": "Team", "memberIds": []string{bob.ID, cid.ID, dan.ID, bob.ID, ann.ID}}, &made)
	if err != nil {
		t.Fatalf("group.create: %v", err)
	}
	var sent struct {
		MessageID, ConversationID string
		Seq, Ordinal              uint64
	}
	err = a.Call(t.Context(), "message.send", client.Object{
		"clientMsgId": "m1", "groupId": made.Group.GroupID, "text": client.Object{"text": "hello team"},
	}, &sent)
	if err != nil || sent.Seq != 2 || sent.Ordinal != 1 {
		t.Fatalf("message.send = %+v, %v; want seq 2 behind groupCreated, ordinal 1", sent, err)
	}
	for name, c := range map[string]*client.Conn{"the sender": a, "bob": b} {
		for want := uint64(1); want <= 2; want++ {
			n, e, err := c.NextEntry(within(t, 10*time.Second))
			if err != nil || n != want || e.Seq != want || e.ConversationID != sent.ConversationID {
				t.Fatalf("%s got push %d: %+v, %v; want seq %d", name, n, e, err, want)
			}
			if want == 1 && (e.Kind != "notice" || e.Notice.Type != "groupCreated" || len(e.Notice.UserIDs) != 4) {
				t.Errorf("the first entry = %+v; want groupCreated with four members", e)
			}
			if want == 2 && (e.MessageID != sent.MessageID || e.Text.Text != "hello team") {
				t.Errorf("%s got %+v; want message %s", name, e, sent.MessageID)
			}
		}
		if err := c.Send(client.Object{"jsonrpc": "2.0", "method": "ack", "params": client.Object{"n": 2}}); err != nil {
			t.Fatal(err)
		}
	}
	cidToken, bobToken := iphone[:63]+"c", iphone[:63]+"b"
	eventually(t, "the absent ones' phones are asked for", func() bool {
		return len(apple.For(cidToken)) > 0 && len(google.For("android-dan")) > 0
	})
	eventually(t, "the writer has stored all", func() bool { return s.metric("oceanchat_persistence_entries_stored_total") >= 2 })
	checkHistory(t, cid, sent.ConversationID, "hello team")
	checkList(t, cid, sent.ConversationID)
	// A task for the present one would have gone out beside the others; its hand-back after 10 s too, had it not acknowledged.
	<-time.After(11 * time.Second)
	if got := len(apple.For(cidToken)); got != 1 {
		t.Errorf("%d requests for cid's phone; want exactly 1", got)
	}
	if got := len(google.For("android-dan")); got != 1 {
		t.Errorf("%d requests for dan's phone; want exactly 1", got)
	}
	if got := len(apple.For(bobToken)); got != 0 {
		t.Errorf("%d requests for bob, who was there; want none", got)
	}
	if p := append(apple.Problems(), google.Problems()...); len(p) > 0 {
		t.Errorf("the vendors complain: %q", p)
	}
}

func register(t *testing.T, u *client.User, body client.Object) {
	t.Helper()
	if err := u.Do(t.Context(), "PUT", "/devices/"+u.Device+"/push", body, nil); err != nil {
		t.Fatalf("register %s for push: %v", u.Username, err)
	}
}

func checkHistory(t *testing.T, u *client.User, conversation, text string) {
	t.Helper()
	var page struct {
		Entries        []client.Entry
		FromSeq, ToSeq uint64
		HasMore        bool
	}
	err := u.Do(t.Context(), "GET", "/conversations/"+conversation+"/messages", nil, &page)
	if err != nil || len(page.Entries) != 2 || page.FromSeq != 1 || page.ToSeq != 2 || page.HasMore || page.Entries[1].Text.Text != text {
		t.Errorf("history of %s = %+v, %v; want two entries, the last %q", u.Username, page, err, text)
	}
}

func checkList(t *testing.T, u *client.User, conversation string) {
	t.Helper()
	var list struct {
		Conversations []struct {
			ConversationID, Kind, Title string
			Unread                      uint64
			Head                        struct{ Seq, Ordinal uint64 }
			LastEntry                   client.Entry
		}
	}
	err := u.Do(t.Context(), "GET", "/conversations", nil, &list)
	if err != nil || len(list.Conversations) == 0 || list.Conversations[0].ConversationID != conversation {
		t.Fatalf("conversations of %s = %+v, %v; want %s first", u.Username, list, err, conversation)
	}
	c := list.Conversations[0]
	if c.Kind != "group" || c.Title != "Team" || c.Unread != 1 || c.Head.Seq != 2 || c.LastEntry.Seq != 2 {
		t.Errorf("the conversation = %+v; want the group Team with one unread and its last entry", c)
	}
}

// What one's phone did not acknowledge comes as an offline push: a half-dead socket loses no notification.
func TestUnacknowledgedPushGoesOffline(t *testing.T) {
	google, apple := vendortest.NewFCM(t), vendortest.NewAPNs(t)
	s := start(t, append(pushFlags(apple, google, apple.CAFile, google.CAFile), "--ws-gateway-ack-window", "1s")...)
	ann, bob := s.user("ann"), s.user("bob")
	register(t, bob, client.Object{"provider": "fcm", "token": "android-bob", "appId": "com.example", "language": "en"})
	b := connect(t, bob) // says acks, and then never acknowledges
	if err := send(t.Context(), ann, bob.ID, "m1", "are you there?"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.NextEntry(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the offline push", func() bool { return len(google.For("android-bob")) == 1 })
	if p := google.Problems(); len(p) > 0 {
		t.Errorf("the vendor complains: %q", p)
	}
}

func send(ctx context.Context, from *client.User, to, id, text string) error {
	err := from.Do(ctx, "POST", "/messages", client.Object{"clientMsgId": id, "toUserId": to, "text": client.Object{"text": text}}, nil)
	if err != nil {
		return fmt.Errorf("%s sends %s: %w", from.Username, id, err)
	}
	return nil
}

// Without credentials a task ends with a line and a metric, not in a loop.
func TestPushWithoutCredentials(t *testing.T) {
	s := start(t)
	ann, bob := s.user("ann"), s.user("bob")
	register(t, bob, client.Object{"provider": "fcm", "token": "android-bob", "appId": "com.example", "language": "en"})
	if err := send(t.Context(), ann, bob.ID, "m1", "hi"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the task ends", func() bool { return s.metric("oceanchat_pusher_offline_unconfigured_total") == 1 })
}
