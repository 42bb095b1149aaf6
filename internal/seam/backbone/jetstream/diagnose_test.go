package jetstream_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/finding"
	"github.com/oceanchat/oceanchat/internal/finding/findingtest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
)

// patient is a server with what a diagnosis should say of it.
func patient(t *testing.T, change func(*natsserver.Options)) *natsserver.Server {
	t.Helper()
	o := &natsserver.Options{
		ServerName: "n1", JetStream: true, StoreDir: t.TempDir(), Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
		MaxPayload: 8 << 20, SyncAlways: true, HTTPHost: "127.0.0.1", HTTPPort: -1,
	}
	if change != nil {
		change(o)
	}
	srv, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatalf("NewServer = %v", err)
	}
	go srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return srv
}

func diagnosis(urls ...string) jetstream.Diagnosis {
	return jetstream.Diagnosis{
		Servers: jetstream.Servers{URLs: urls}, Config: jetstream.Config{Replicas: 1, LogMaxBytes: 16 << 20, QueueMaxBytes: 16 << 20, Partitions: 2},
		Readers: []string{"persistence"}, SyncAlways: true,
	}
}

func noneOf(t *testing.T, found []finding.Finding, level finding.Level) {
	t.Helper()
	for _, f := range found {
		if f.Level == level {
			t.Errorf("unwanted: %s", findingtest.Lines([]finding.Finding{f}))
		}
	}
}

func TestDiagnoseServers(t *testing.T) {
	t.Parallel()
	type want struct {
		level       finding.Level
		check, text string
	}
	monitored := func(d *jetstream.Diagnosis, srv *natsserver.Server) {
		d.Monitors = []string{"http://" + srv.MonitorAddr().String()}
	}
	system := func(o *natsserver.Options) {
		sys, users := natsserver.NewAccount("SYS"), natsserver.NewAccount("OC")
		o.Accounts, o.SystemAccount = []*natsserver.Account{sys, users}, "SYS"
		o.Users = []*natsserver.User{{Username: "admin", Password: "hunter2", Account: sys, Permissions: &natsserver.Permissions{Subscribe: &natsserver.SubjectPermission{Allow: []string{"_OC_INBOX.admin.>"}}}}, {Username: "app", Password: "sesame7", Account: users}}
	}
	tests := []struct {
		name   string
		server func(*natsserver.Options)
		ask    func(*jetstream.Diagnosis, *natsserver.Server)
		want   []want
	}{
		{name: "as it should be", ask: monitored, want: []want{
			{finding.OK, "nats 127.0.0.1", "is n1, by itself, version 2."},
			{finding.OK, "nats sync n1", "always"},
			{finding.OK, "nats room n1", "the streams reserve 80 MiB"},
			{finding.OK, "nats log", "no stream is there yet"},
			{finding.Warning, "nats.replicas", "1 of each stream"},
		}},
		{name: "three replicas wanted of one server", ask: func(d *jetstream.Diagnosis, _ *natsserver.Server) { d.Config.Replicas = 3 }, want: []want{
			{finding.Problem, "nats.replicas", "3 replicas are wanted and there are 1 servers"},
			{finding.Warning, "nats sync", "is not known"},
		}},
		{name: "syncs now and then", server: func(o *natsserver.Options) { o.SyncAlways = false }, ask: monitored, want: []want{
			{finding.Problem, "nats sync n1", "every 2m0s, and log.sync is always"},
		}},
		{name: "may sync now and then", server: func(o *natsserver.Options) { o.SyncAlways = false }, ask: func(d *jetstream.Diagnosis, srv *natsserver.Server) {
			monitored(d, srv)
			d.SyncAlways = false
		}, want: []want{{finding.OK, "nats sync n1", "every 2m0s"}}},
		{name: "small messages", server: func(o *natsserver.Options) { o.MaxPayload = 1 << 20 }, want: []want{
			{finding.Problem, "nats 127.0.0.1", "at most 1 MiB"},
		}},
		{name: "smaller messages than advised", server: func(o *natsserver.Options) { o.MaxPayload = 6 << 20 }, want: []want{
			{finding.Warning, "nats 127.0.0.1", "at most 6 MiB"},
		}},
		{name: "no JetStream", server: func(o *natsserver.Options) { o.JetStream = false }, want: []want{
			{finding.Problem, "nats jetstream", "is off"},
		}},
		{name: "little room", server: func(o *natsserver.Options) { o.JetStreamMaxStore = 20 << 20 }, ask: monitored, want: []want{
			{finding.Problem, "nats room n1", "may store 20 MiB, the streams reserve 80 MiB"},
		}},
		{name: "wrong password", server: func(o *natsserver.Options) { o.Username, o.Password = "app", "sesame7" }, ask: func(d *jetstream.Diagnosis, _ *natsserver.Server) {
			d.Servers.User, d.Servers.Password = "app", "secret99"
		}, want: []want{{finding.Problem, "nats 127.0.0.1", "does not let us in"}}},
		{name: "the system account tells", server: system, ask: func(d *jetstream.Diagnosis, _ *natsserver.Server) {
			d.Servers.User, d.Servers.Password, d.SystemUser, d.SystemPassword = "app", "sesame7", "admin", "hunter2"
		}, want: []want{{finding.OK, "nats sync n1", "always"}, {finding.Problem, "nats jetstream", "is off"}}},
		{name: "no user of the system account", server: system, ask: func(d *jetstream.Diagnosis, _ *natsserver.Server) {
			d.Servers.User, d.Servers.Password, d.SystemUser, d.SystemPassword = "app", "sesame7", "app", "sesame7"
		}, want: []want{{finding.Problem, "nats system account", "no server answers to this user"}}},
		{name: "no permission", server: func(o *natsserver.Options) {
			o.Users = []*natsserver.User{{Username: "app", Password: "sesame7", Permissions: &natsserver.Permissions{Publish: &natsserver.SubjectPermission{Allow: []string{"oc.>"}}}}}
		}, ask: func(d *jetstream.Diagnosis, _ *natsserver.Server) {
			d.Servers.User, d.Servers.Password = "app", "sesame7"
		}, want: []want{
			{finding.Problem, "nats jetstream", "may not be asked"},
		}},
		{name: "little permission", server: func(o *natsserver.Options) {
			o.Users = []*natsserver.User{{Username: "app", Password: "sesame7", Permissions: &natsserver.Permissions{Publish: &natsserver.SubjectPermission{Allow: []string{"$JS.API.INFO"}}}}}
		}, ask: func(d *jetstream.Diagnosis, _ *natsserver.Server) {
			d.Servers.User, d.Servers.Password = "app", "sesame7"
		}, want: []want{
			{finding.OK, "nats jetstream", "answers"},
			{finding.Warning, "nats log", "2 of 2 streams may not be looked at"},
			{finding.Warning, "nats queues", "4 of 4 streams may not be looked at"},
		}},
		{name: "a monitor that is none", ask: func(d *jetstream.Diagnosis, _ *natsserver.Server) {
			d.Monitors = []string{"http://admin:hunter2@127.0.0.1:1", "http://admin:hunter2@[x", "127.0.0.1:1"}
		}, want: []want{{finding.Problem, "nats monitor 127.0.0.1:1", "refused"}, {finding.Problem, "nats monitor (unreadable", "not an address"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := patient(t, tt.server)
			d := diagnosis(srv.ClientURL())
			if tt.ask != nil {
				tt.ask(&d, srv)
			}
			found := jetstream.Diagnose(t.Context(), d)
			for _, w := range tt.want {
				findingtest.Want(t, found, w.level, w.check, w.text)
			}
			for _, secret := range []string{"hunter2", "sesame7", "secret99"} {
				if strings.Contains(findingtest.Lines(found), secret) {
					t.Errorf("a secret is told:\n%s", findingtest.Lines(found))
				}
			}
		})
	}
}

func TestDiagnoseNobodyThere(t *testing.T) {
	t.Parallel()
	none := httptest.NewServer(http.NotFoundHandler()) // no NATS server
	defer none.Close()
	d := diagnosis("nats://app:hunter2@127.0.0.1:1", "nats://app:hunter2@[x")
	d.Monitors = []string{none.URL}
	found := jetstream.Diagnose(t.Context(), d)
	findingtest.Want(t, found, finding.Problem, "nats 127.0.0.1:1", "nobody listens there")
	findingtest.Want(t, found, finding.Problem, "nats (unreadable address)", "is no address")
	findingtest.Want(t, found, finding.Problem, "nats monitor", "404")
	if strings.Contains(findingtest.Lines(found), "hunter2") {
		t.Errorf("a secret is told:\n%s", findingtest.Lines(found))
	}
}

func TestDiagnoseStreams(t *testing.T) {
	t.Parallel()
	srv := patient(t, nil)
	conn, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	j, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	make := func(c js.StreamConfig) {
		t.Helper()
		if _, err := j.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	// Each is wrong in a way of its own; OC_EVENTS is not there.
	make(js.StreamConfig{Name: "OC_LOG_0", Subjects: []string{"oc.log.0"}, Discard: js.DiscardOld, AllowDirect: true, MaxAge: time.Hour, MaxMsgs: 10, MaxMsgSize: 1000, MaxBytes: 1 << 20, Metadata: map[string]string{"oceanchat-partitions": "3"}})
	make(js.StreamConfig{Name: "OC_LOG_1", Subjects: []string{"oc.log.1"}, Discard: js.DiscardNew, Storage: js.MemoryStorage, MaxBytes: 16 << 10})
	make(js.StreamConfig{Name: "OC_LOG_2", Subjects: []string{"oc.log.2"}})
	make(js.StreamConfig{Name: "OC_PUSH_OFFLINE", Subjects: []string{"oc.push.offline.>", "x"}, Retention: js.WorkQueuePolicy, MaxAge: 24 * time.Hour, MaxBytes: 16 << 20})
	make(js.StreamConfig{Name: "OC_DEAD", Subjects: []string{"oc.dead.>"}, MaxAge: 7 * 24 * time.Hour, MaxBytes: 16 << 20})
	for _, subject := range []string{"oc.dead.x", "oc.log.1"} {
		if _, err := j.Publish(t.Context(), subject, []byte(strings.Repeat("x", 15<<10))); err != nil {
			t.Fatal(err)
		}
	}
	found := jetstream.Diagnose(t.Context(), diagnosis(srv.ClientURL()))
	for _, w := range []struct {
		level       finding.Level
		check, text string
	}{
		{finding.Problem, "nats stream OC_LOG_0", "DiscardOld"},
		{finding.Problem, "nats stream OC_LOG_0", "AllowDirect"},
		{finding.Problem, "nats stream OC_LOG_0", "keeps messages for 1h"},
		{finding.Problem, "nats stream OC_LOG_0", "beyond a number"},
		{finding.Problem, "nats stream OC_LOG_0", "at most 1000 bytes"},
		{finding.Warning, "nats stream OC_LOG_0", "may hold 1 MiB, the settings say 16 MiB"},
		{finding.Problem, "nats stream OC_LOG_0", "was made with 3 partitions, log.partitions is 2"},
		{finding.Problem, "nats stream OC_LOG_1", "is made wrongly (Memory"},
		{finding.Problem, "nats stream OC_LOG_1", "93 % full: sending fails"},
		{finding.Warning, "nats stream OC_LOG_1", "was never read by persistence"},
		{finding.Problem, "nats log", "there is a stream OC_LOG_2"},
		{finding.Problem, "nats stream OC_PUSH_OFFLINE", "holds the subjects"},
		{finding.Warning, "nats stream OC_EVENTS", "is not there"},
		{finding.Warning, "nats stream OC_DEAD", "1 tasks were given up"},
	} {
		findingtest.Want(t, found, w.level, w.check, w.text)
	}
}

// What services make is what the diagnosis wants, also on three servers.
func TestDiagnoseCluster(t *testing.T) {
	t.Parallel()
	c := backbonetest.StartCluster(t, 3)
	b, stop := c.Open(t, 0)
	defer stop()
	for p := range 2 {
		if _, err := b.Log(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []backbone.QueueName{backbone.PushOnline, backbone.PushOffline, backbone.Events} {
		if _, err := b.Queue(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	d := diagnosis(strings.Split(c.URLs(0), ",")...)
	d.Config.Replicas = 3
	diagnose := func(done func([]finding.Finding) bool) (found []finding.Finding) {
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
			if found = jetstream.Diagnose(t.Context(), d); done(found) {
				break
			}
		}
		return found
	}
	has := func(level finding.Level, check, text string) func([]finding.Finding) bool {
		return func(found []finding.Finding) bool {
			return slices.ContainsFunc(found, func(f finding.Finding) bool {
				return f.Level == level && f.Check == check && strings.Contains(f.Found, text)
			})
		}
	}
	found := diagnose(has(finding.OK, "nats queues", "4 of 4"))
	findingtest.Want(t, found, finding.OK, "nats log", "2 of 2 streams are as they should be")
	findingtest.Want(t, found, finding.OK, "nats queues", "4 of 4 streams are as they should be")
	findingtest.Want(t, found, finding.OK, "nats.replicas", "3, on 3 servers")
	findingtest.Want(t, found, finding.OK, "clock of NATS s", "this machine's")
	// max_payload is the server's default here, and nothing else is wrong.
	noneOf(t, slices.DeleteFunc(found, func(f finding.Finding) bool { return strings.Contains(f.Found, "takes messages of at most 1 MiB") }), finding.Problem)

	c.Stop(2)
	found = diagnose(has(finding.Warning, "nats copies s2", "it is off line: 6 of 6 streams"))
	findingtest.Want(t, found, finding.Warning, "nats copies s2", "it is off line: 6 of 6 streams")
	findingtest.Want(t, found, finding.Problem, "nats 127.0.0.1", "nobody listens there")
	c.Stop(1)
	found = diagnose(has(finding.Problem, "nats jetstream", "does not answer"))
	findingtest.Want(t, found, finding.Problem, "nats jetstream", "does not answer")
}
