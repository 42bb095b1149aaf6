package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/app"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// Three servers with the shipped configuration: each user can do what its service does, and nothing of what others do.
func TestNATS(t *testing.T) {
	t.Parallel()
	c := startServers(t)
	ok := t.Run("servers", c.testServers) && t.Run("streams", c.testStreams) && t.Run("calls", c.testCalls)
	if !ok {
		return
	}
	t.Run("refused", c.testRefused)
	t.Run("strangers", c.testStrangers)
}

// Every target has a user, and there is no other than those that the documents name.
func TestUsers(t *testing.T) {
	t.Parallel()
	want := append(app.Targets(), "events", "oceanchat", "operator", "sys")
	var got []string
	for name, variable := range users(t) {
		got = append(got, name)
		if variable != "OC_NATS_PASSWORD_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")) {
			t.Errorf("the password of %s is in %s", name, variable)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

// What the product relies on, as the servers say it of themselves: what doctor reads.
func (c *cluster) testServers(t *testing.T) {
	conn := c.connect(t, "operator", nil)
	if conn.MaxPayload() < 8<<20 {
		t.Errorf("max_payload = %d; want 8 MiB at least", conn.MaxPayload())
	}
	answers := ask(t, conn, "$SYS.REQ.SERVER.PING.JSZ", 3)
	if len(answers) != 3 {
		t.Errorf("%d servers answer JSZ; want 3", len(answers))
	}
	for _, a := range answers {
		var got struct {
			Data struct {
				Config struct {
					SyncAlways bool  `json:"sync_always"`
					MaxMemory  int64 `json:"max_memory"`
				} `json:"config"`
			} `json:"data"`
		}
		if err := json.Unmarshal(a, &got); err != nil || !got.Data.Config.SyncAlways || got.Data.Config.MaxMemory < 256<<20 {
			t.Errorf("JSZ = %s, %v; want sync_always, and memory for OC_PUSH_ONLINE", a, err)
		}
	}
	if n := len(ask(t, conn, "$SYS.REQ.SERVER.PING.VARZ", 3)); n != 3 {
		t.Errorf("%d servers answer VARZ; want 3", n)
	}
}

// testStreams walks an entry from the log to a phone's vendor, each step by the seam's own code as the user of its service.
// Any refusal on the way fails it (connect).
func (c *cluster) testStreams(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	as := func(user string) backbone.Backbone { return seam(t, c.connect(t, user, nil), 3) }
	no := func(err error, what string, args ...any) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s = %v", fmt.Sprintf(what, args...), err)
		}
	}
	for _, target := range app.Targets() { // /readyz
		no(as(target).Writable(ctx), "%s: Writable", target)
	}
	message, orchestrator, persistence := as("message"), as("orchestrator"), as("persistence")
	for p := range 2 {
		l, err := message.Log(ctx, p)
		no(err, "message: open log %d", p)
		for seq := range uint64(3) {
			_, err := l.Append(ctx, []byte("x"), seq)
			no(err, "message: append to %d", p)
		}
	}
	l, err := message.Log(ctx, 0)
	no(err, "message: log")
	no(l.Read(ctx, 1, 3, func(backbone.Message) error { return nil }), "message: read")
	_, err = l.Get(ctx, 2)
	no(err, "message: get")
	no(message.Publish("oc.signal", nil), "message: signal")

	online, err := orchestrator.Queue(ctx, backbone.PushOnline)
	no(err, "orchestrator: online")
	offline, err := orchestrator.Queue(ctx, backbone.PushOffline)
	no(err, "orchestrator: offline")
	l, err = orchestrator.Log(ctx, 0)
	no(err, "orchestrator: log")
	follow(ctx, t, l, backbone.Reader{Name: "orchestrator"}, 3)
	no(online.Publish(ctx, "gw-1", "a", []byte("x")), "orchestrator: online task")
	no(offline.Publish(ctx, "task", "b", []byte("x")), "orchestrator: offline task")

	l, err = persistence.Log(ctx, 0)
	no(err, "persistence: log")
	follow(ctx, t, l, backbone.Reader{Name: "persistence", Start: func(context.Context) (uint64, error) { return 0, nil }}, 3)
	eventually(t, "persistence sees orchestrator's floor", func() bool {
		floor, err := l.Floor(ctx, "orchestrator")
		return err == nil && floor == 3
	})
	_, err = l.SeqAt(ctx, time.Now())
	no(err, "persistence: time")
	no(l.Purge(ctx, 2), "persistence: purge")
	l, err = message.Log(ctx, 0)
	no(err, "message: log")
	for _, reader := range []string{"orchestrator", "persistence"} {
		_, err = l.Floor(ctx, reader)
		no(err, "message: floor of %s", reader)
	}

	events, err := as("auth").Queue(ctx, backbone.Events)
	no(err, "auth: events")
	no(events.Publish(ctx, "user.loggedOut", "e", []byte("x")), "auth: event")
	no(events.Publish(ctx, "user.registered", "f", []byte("x")), "auth: event")

	realtime := as("pusher-realtime")
	q, err := realtime.Queue(ctx, backbone.PushOnline)
	no(err, "pusher-realtime: online")
	consume(ctx, t, q, backbone.Consumer{Name: "pusher-realtime"})
	q, err = realtime.Queue(ctx, backbone.PushOffline)
	no(err, "pusher-realtime: offline")
	no(q.Publish(ctx, "task", "c", []byte("x")), "pusher-realtime: offline task")

	phones := as("pusher-offline")
	q, err = phones.Queue(ctx, backbone.PushOffline)
	no(err, "pusher-offline: offline")
	consume(ctx, t, q, backbone.Consumer{Name: "pusher-offline", Topic: "task"})
	no(q.Publish(ctx, "vendor.apns", "d", []byte("x")), "pusher-offline: vendor's task")
	consume(ctx, t, q, backbone.Consumer{Name: "push-apns", Topic: "vendor.apns"})
	q, err = phones.Queue(ctx, backbone.Events)
	no(err, "pusher-offline: events")
	consume(ctx, t, q, backbone.Consumer{Name: "pusher-offline-logout", Topic: "user.loggedOut"})

	several := as("oceanchat")
	l, err = several.Log(ctx, 2)
	no(err, "oceanchat: log")
	_, err = l.Append(ctx, []byte("x"), 0)
	no(err, "oceanchat: append")
	follow(ctx, t, l, backbone.Reader{Name: "orchestrator"}, 1)
	no(l.Purge(ctx, 1), "oceanchat: purge")

	c.testEvents(ctx, t)
	c.testOperator(ctx, t)
}

// testEvents reads domain events as a program outside does, docs/reference/events.md.
func (c *cluster) testEvents(ctx context.Context, t *testing.T) {
	t.Helper()
	j, err := js.New(c.connect(t, "events", nil))
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := j.CreateOrUpdateConsumer(ctx, "OC_EVENTS", js.ConsumerConfig{Durable: "welcome", FilterSubject: "auth.event.user.registered"})
	if err != nil {
		t.Fatalf("events: make a consumer = %v", err)
	}
	m, err := consumer.Next(js.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatalf("events: next = %v", err)
	}
	if err := m.DoubleAck(ctx); err != nil || m.Subject() != "auth.event.user.registered" {
		t.Errorf("events: got %s, acknowledged %v", m.Subject(), err)
	}
}

// testOperator looks into the streams and puts a dead letter back.
func (c *cluster) testOperator(ctx context.Context, t *testing.T) {
	t.Helper()
	j, err := js.New(c.connect(t, "operator", nil))
	if err != nil {
		t.Fatal(err)
	}
	replicas := map[string]int{}
	list := j.ListStreams(ctx)
	for i := range list.Info() {
		replicas[i.Config.Name] = i.Config.Replicas
	}
	want := map[string]int{"OC_LOG_0": 3, "OC_LOG_1": 3, "OC_LOG_2": 3, "OC_PUSH_ONLINE": 3, "OC_PUSH_OFFLINE": 3, "OC_EVENTS": 3, "OC_DEAD": 3}
	if diff := cmp.Diff(want, replicas); diff != "" || list.Err() != nil {
		t.Errorf("streams and their replicas: %v (-want +got):\n%s", list.Err(), diff)
	}
	dead, err := j.Stream(ctx, "OC_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	letter, err := dead.GetLastMsgForSubject(ctx, "oc.dead.push-online.>")
	if err != nil {
		t.Fatalf("operator: dead letter = %v; want what pusher-realtime parked", err)
	}
	if _, err := j.Publish(ctx, "oc.push.online.gw-1", letter.Data); err != nil {
		t.Errorf("operator: put it back = %v", err)
	}
	c.testRecover(ctx, t)
}

// testRecover does what `oceanchat recover` does with streams.
func (c *cluster) testRecover(ctx context.Context, t *testing.T) {
	t.Helper()
	b := seam(t, c.connect(t, "operator", nil), 3)
	stop, err := b.Hear("oc.message.alive", func(string, []byte) {})
	if err != nil {
		t.Fatalf("operator: listen whether message lives = %v", err)
	}
	stop()
	var refused refusals
	if _, err := seam(t, c.connect(t, "query", &refused), 3).Hear("oc.message.alive", func(string, []byte) {}); err == nil {
		t.Error("query: listen whether message lives = nil; want the refusal")
	}
	if err := b.Declare(ctx, 9, 10); err != nil {
		t.Fatalf("operator: make a log = %v", err)
	}
	l, err := b.Log(ctx, 9)
	if err == nil {
		err = errors.Join(l.Confirm(ctx), l.Purge(ctx, 7))
	}
	if err != nil {
		t.Errorf("operator: move its end = %v", err)
	}
	if logs, err := b.Logs(ctx); err != nil || logs[9] != 10 || len(logs) != 4 {
		t.Errorf("operator: the logs are %v, %v; want the three and the new one", logs, err)
	}
	if err := b.Drop(ctx, 9); err != nil {
		t.Errorf("operator: drop it = %v", err)
	}
}

// follow reads until the message at sequence last was handled.
func follow(ctx context.Context, t *testing.T, l backbone.Log, r backbone.Reader, last uint64) {
	t.Helper()
	ctx, done := context.WithCancel(ctx)
	defer done()
	reached := false
	r.Handle = func(_ context.Context, run []backbone.Message) error {
		if reached = run[len(run)-1].Seq == last; reached {
			done()
		}
		return nil
	}
	r.Failed = func(err error, try int) { t.Logf("%s: %v (try %d)", r.Name, err, try) }
	if err := l.Follow(ctx, r); err != nil || !reached {
		t.Fatalf("Follow as %s = %v, reached %d: %t", r.Name, err, last, reached)
	}
}

// consume handles one task, and parks it where c is pusher-realtime's.
func consume(ctx context.Context, t *testing.T, q backbone.Queue, c backbone.Consumer) {
	t.Helper()
	ctx, done := context.WithCancel(ctx)
	defer done()
	handled := false
	c.Handle = func(context.Context, backbone.Task) backbone.Verdict {
		handled = true
		if c.Name == "pusher-realtime" {
			return backbone.Park(context.Canceled)
		}
		done()
		return backbone.Done()
	}
	c.Parked = func(backbone.Task, error) { done() }
	if err := q.Consume(ctx, c); err != nil || !handled {
		t.Fatalf("Consume as %s = %v, handled: %t", c.Name, err, handled)
	}
}

// testCalls makes each kind of request that services make over NATS, and has it answered.
func (c *cluster) testCalls(t *testing.T) {
	calls := []struct{ caller, subject, callee string }{
		{"ws-gateway", "oc.call.router", "router"},
		{"ws-gateway", "oc.call.auth", "auth"},
		{"ws-gateway", "oc.call.presence", "presence"},
		{"ws-gateway", "oc.call.query", "query"},
		{"ws-gateway", "oc.call.pusher-realtime", "pusher-realtime"},
		{"router", "oc.call.auth", "auth"},
		{"router", "oc.call.user", "user"},
		{"router", "oc.call.group", "group"},
		{"router", "oc.call.message", "message"},
		{"router", "oc.call.message.shard.3", "message"},
		{"router", "oc.call.presence", "presence"},
		{"router", "oc.call.query", "query"},
		{"router", "oc.call.pusher-offline", "pusher-offline"},
		{"pusher-realtime", "oc.gateway.gw-1", "ws-gateway"},
		{"ws-gateway", "oc.gateway.gw-2", "ws-gateway"},
		{"oceanchat", "oc.call.router", "router"},
		{"oceanchat", "oc.call.message", "message"},
		{"oceanchat", "oc.call.pusher-realtime", "pusher-realtime"},
		{"oceanchat", "oc.gateway.gw-3", "ws-gateway"},
		{"router", "oc.call.group", "oceanchat"},
		{"ws-gateway", "oc.call.router", "oceanchat"},
		{"pusher-realtime", "oc.gateway.gw-4", "oceanchat"},
	}
	for _, tt := range calls {
		t.Run(tt.caller+" "+tt.subject+" "+tt.callee, func(t *testing.T) {
			callee, caller := c.connect(t, tt.callee, nil), c.connect(t, tt.caller, nil)
			sub, err := callee.QueueSubscribe(tt.subject, tt.callee, func(m *nats.Msg) { _ = m.Respond([]byte("answer")) })
			if err != nil || callee.Flush() != nil {
				t.Fatal(err)
			}
			defer func() { _ = sub.Unsubscribe() }()
			eventually(t, "an answer", func() bool {
				m, err := caller.Request(tt.subject, []byte("question"), time.Second)
				return err == nil && string(m.Data) == "answer"
			})
		})
	}
	signals := []struct{ from, subject, to string }{
		{"message", "oc.signal", "pusher-realtime"},
		{"auth", "oc.session.ended", "ws-gateway"},
		{"message", "oc.message.alive", "message"},
		{"api-gateway", "oc.trace", "persistence"},
		{"persistence", "oc.trace.answer.w1", "api-gateway"},
		{"query", "oc.trace.answer.w2", "operator"},
	}
	for _, tt := range signals {
		t.Run(tt.from+" "+tt.subject+" "+tt.to, func(t *testing.T) {
			to, from := c.connect(t, tt.to, nil), c.connect(t, tt.from, nil)
			sub, err := to.SubscribeSync(tt.subject)
			if err != nil || to.Flush() != nil {
				t.Fatal(err)
			}
			eventually(t, "the signal", func() bool {
				if err := from.Publish(tt.subject, nil); err != nil || from.Flush() != nil {
					return false
				}
				_, err := sub.NextMsg(time.Second)
				return err == nil
			})
		})
	}
}

// What each subject may be used for, and by whom; all other users are refused. Partition 99 and gateway "none" do not exist,
// so that what is allowed does nothing.
var (
	mayPublish = map[string]string{
		"oc.log.99":                            "message oceanchat",
		"oc.push.online.none":                  "orchestrator oceanchat operator",
		"oc.push.offline.none":                 "orchestrator pusher-realtime pusher-offline oceanchat operator",
		"auth.event.user.none":                 "auth oceanchat",
		"oc.dead.push-online.none":             "pusher-realtime oceanchat",
		"oc.dead.push-offline.none":            "pusher-offline oceanchat",
		"oc.signal":                            "message oceanchat",
		"oc.session.ended":                     "auth oceanchat",
		"oc.message.alive":                     "message oceanchat",
		"oc.gateway.none":                      "ws-gateway pusher-realtime oceanchat",
		"oc.call.router":                       "ws-gateway oceanchat",
		"oc.call.auth":                         "ws-gateway router oceanchat",
		"oc.call.message":                      "router oceanchat",
		"oc.call.message.shard.0":              "router oceanchat",
		"oc.call.presence":                     "ws-gateway router oceanchat",
		"oc.call.pusher-realtime":              "ws-gateway oceanchat",
		"oc.call.none":                         "oceanchat",
		"_OC_INBOX.router.none":                "auth user group message presence query pusher-offline oceanchat",
		"_OC_INBOX.ws-gateway.none":            "ws-gateway router auth presence query pusher-realtime oceanchat",
		"_OC_INBOX.pusher-realtime.none":       "ws-gateway oceanchat",
		"_OC_INBOX.auth.none":                  "oceanchat",
		"_INBOX.none":                          "",
		"$JS.API.STREAM.DELETE.OC_LOG_99":      "operator",
		"$JS.API.STREAM.DELETE.OC_EVENTS_99":   "operator",
		"$JS.API.STREAM.PURGE.OC_LOG_99":       "persistence oceanchat operator",
		"$JS.API.STREAM.PURGE.OC_EVENTS":       "*operator", // * names who may and does not try
		"$JS.API.STREAM.PURGE.OC_PUSH_OFFLINE": "*operator",
		"$JS.API.STREAM.MSG.GET.OC_LOG_99":     "message persistence oceanchat operator",
		"$JS.API.STREAM.MSG.GET.OC_EVENTS":     "oceanchat operator",
		"$JS.API.STREAM.MSG.DELETE.OC_LOG_99":  "operator",
		"$JS.API.DIRECT.GET.OC_LOG_99":         "operator",
		"$JS.API.STREAM.SNAPSHOT.OC_LOG_99":    "operator",
		"$JS.API.STREAM.RESTORE.OC_LOG_99":     "operator",
		"$JS.API.STREAM.CREATE.OC_LOG_99":      "message persistence orchestrator oceanchat operator",
		"$JS.API.STREAM.CREATE.OC_EVENTS":      "auth pusher-offline oceanchat operator",
		"$JS.API.STREAM.CREATE.OTHER":          "message persistence orchestrator oceanchat operator", // the log's number of streams is a setting
		"$JS.API.STREAM.UPDATE.OC_LOG_99":      "message persistence orchestrator oceanchat operator",
		"$JS.API.STREAM.UPDATE.OC_EVENTS":      "auth pusher-offline oceanchat operator",
		"$JS.API.STREAM.UPDATE.OC_PUSH_ONLINE": "orchestrator pusher-realtime oceanchat operator",
		"$JS.API.CONSUMER.CREATE.OC_LOG_99.x":  "message oceanchat operator",

		"$JS.API.CONSUMER.RESET.OC_LOG_99.orchestrator":             "orchestrator oceanchat operator",
		"$JS.API.CONSUMER.RESET.OC_LOG_99.persistence":              "persistence oceanchat operator",
		"$JS.API.CONSUMER.DELETE.OC_LOG_99.orchestrator":            "oceanchat operator",
		"$JS.API.CONSUMER.MSG.NEXT.OC_LOG_99.persistence":           "persistence oceanchat operator",
		"$JS.API.CONSUMER.MSG.NEXT.OC_PUSH_ONLINE.none":             "oceanchat operator",
		"$JS.API.CONSUMER.MSG.NEXT.OC_PUSH_OFFLINE.none":            "pusher-offline oceanchat operator",
		"$JS.API.CONSUMER.MSG.NEXT.OC_EVENTS.none":                  "oceanchat operator events",
		"$JS.API.CONSUMER.MSG.NEXT.OC_EVENTS.pusher-offline-logout": "*pusher-offline *oceanchat *operator",
		"$JS.API.CONSUMER.DELETE.OC_EVENTS.pusher-offline-logout":   "*oceanchat *operator",
		"$JS.ACK.OC_LOG_99.persistence.1.1.1.1.0":                   "persistence oceanchat",
		"$JS.ACK.OC_LOG_99.orchestrator.1.1.1.1.0":                  "orchestrator oceanchat",
		"$JS.ACK.OC_EVENTS.none.1.1.1.1.0":                          "oceanchat events",
		"$JS.API.CONSUMER.CREATE.OC_EVENTS.none":                    "oceanchat operator events",
		"$JS.API.CONSUMER.DURABLE.CREATE.OC_LOG_99.none":            "oceanchat operator",
		"$JS.API.CONSUMER.PAUSE.OC_LOG_99.persistence":              "oceanchat operator",
		"$JS.API.STREAM.LEADER.STEPDOWN.OC_LOG_99":                  "operator",
		"$JS.API.STREAM.PEER.REMOVE.OC_LOG_99":                      "operator",
		"$JS.API.SERVER.REMOVE":                                     "*operator",
		"$JS.API.ACCOUNT.PURGE.OC":                                  "*operator",
		"$JS.FC.OC_LOG_99.none":                                     "",
		"$JS.API.META.LEADER.STEPDOWN":                              "*operator",
		"$JS.API.CONSUMER.LEADER.STEPDOWN.OC_LOG_99.persistence":    "operator",
		"$SYS.REQ.SERVER.PING.JSZ":                                  "operator",
		"$SYS.REQ.SERVER.PING.CONNZ":                                "",
	}
	maySubscribe = map[string]string{
		"oc.log.0":             "oceanchat",
		"oc.>":                 "oceanchat",
		">":                    "",
		"oc.push.online.>":     "oceanchat",
		"auth.event.>":         "",
		"oc.call.auth":         "auth oceanchat",
		"oc.call.user":         "user oceanchat",
		"oc.call.group":        "group oceanchat",
		"oc.call.message":      "message oceanchat",
		"oc.call.presence":     "presence oceanchat",
		"oc.call.query":        "query oceanchat",
		"oc.call.router":       "router oceanchat",
		"oc.call.*":            "oceanchat",
		"oc.gateway.none":      "ws-gateway oceanchat",
		"oc.dead.>":            "oceanchat",
		"oc.message.alive":     "message oceanchat operator",
		"oc.gateway.*":         "ws-gateway oceanchat",
		"oc.signal":            "pusher-realtime oceanchat",
		"oc.session.ended":     "ws-gateway oceanchat",
		"_OC_INBOX.>":          "",
		"_OC_INBOX.router.x":   "router",
		"_OC_INBOX.events.x":   "events",
		"_OC_INBOX.operator.x": "operator",
		"_INBOX.x":             "events",
		"$JS.API.>":            "",
		"$JS.ACK.>":            "",
		"$SYS.>":               "",
	}
)

// testRefused tries everything as everybody.
func (c *cluster) testRefused(t *testing.T) {
	const last = "none.at.all" // nobody may: when its refusal arrives, all others have
	for user := range users(t) {
		if user == "sys" {
			continue
		}
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			check := func(what string, table map[string]string, try func(conn *nats.Conn, subject string) error) {
				r := &refusals{}
				conn := c.connect(t, user, r)
				var want []string
				for subject, who := range table {
					allowed := strings.Fields(who)
					if slices.Contains(allowed, "*"+user) {
						continue
					}
					if !slices.Contains(allowed, user) {
						want = append(want, subject)
					}
					if err := try(conn, subject); err != nil {
						t.Fatal(err)
					}
				}
				if err := try(conn, last); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the last refusal", func() bool { return slices.Contains(r.all(), last) })
				got := slices.DeleteFunc(r.all(), func(s string) bool { return s == last })
				slices.Sort(want)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: refused (-want +got):\n%s", what, diff)
				}
			}
			check("publish", mayPublish, func(conn *nats.Conn, s string) error { return conn.Publish(s, nil) })
			check("subscribe", maySubscribe, func(conn *nats.Conn, s string) error {
				_, err := conn.SubscribeSync(s)
				return err
			})
		})
	}
}

// Who has no password, or none of this user, or does not speak TLS, does not get in.
func (c *cluster) testStrangers(t *testing.T) {
	url := strings.Split(c.urls, ",")[0]
	secure := nats.RootCAs(c.ca)
	tests := []struct {
		name string
		url  string
		opts []nats.Option
	}{
		{"nobody", url, []nats.Option{secure}},
		{"a wrong password", url, []nats.Option{secure, nats.UserInfo("auth", c.passwords["user"])}},
		{"an empty password", url, []nats.Option{secure, nats.UserInfo("auth", "")}},
		{"another user's name", url, []nats.Option{secure, nats.UserInfo("nobody", c.passwords["user"])}},
		{"an authority that it does not know", url, []nats.Option{nats.UserInfo("auth", c.passwords["auth"])}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := nats.Connect(tt.url, tt.opts...)
			if err == nil {
				conn.Close()
				t.Error("Connect = nil; want a refusal")
			}
		})
	}
}
