package local_test

import (
	"context"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// The whole thing: three NATS servers, Redis, the stand-in, and two processes of every target. Messages pass between users
// on different gateways, also after one process of every target was killed.
func TestCluster(t *testing.T) {
	t.Parallel()
	needRedis(t)
	need(t, "java", "default-jdk-headless")
	need(t, "mvn", "maven")
	c, err := local.Start(t.Context(), local.Options{Dir: t.TempDir(), Sync: "interval", Tenants: 1}, local.ServiceOptions{
		Env: []string{"OCEANCHAT_LOG_PARTITIONS=4"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range c.Services.Processes() {
				t.Logf("%s:\n%s", p.Name, p.Tail(1500))
			}
		}
		if err := c.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
		for _, p := range c.Processes() {
			if p.Running() || !gone(p.PID()) {
				t.Errorf("%s runs after Stop", p.Name)
			}
		}
	})
	if got, want := len(c.Services.Processes()), 2*len(local.Targets()); got != want {
		t.Errorf("%d services; want %d", got, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ann, bob := user(ctx, t, c.URL, "ann"), user(ctx, t, c.URL, "bob")
	a, b := connect(ctx, t, ann), connect(ctx, t, bob)
	talk(ctx, t, a, b, bob, "before")

	for _, target := range local.Targets() {
		if target != "ws-gateway" { // whose connections would end
			c.Services.Of(target)[0].Kill()
		}
	}
	talk(ctx, t, a, b, bob, "after")
	for _, target := range local.Targets() {
		if p := c.Services.Of(target)[0]; !p.Running() {
			if err := p.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	talk(ctx, t, a, b, bob, "again")
}

func user(ctx context.Context, t *testing.T, base, name string) *client.User {
	t.Helper()
	u, err := client.Register(ctx, base, name)
	if err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	return u
}

func connect(ctx context.Context, t *testing.T, u *client.User) *client.Conn {
	t.Helper()
	c, err := u.Connect(ctx, "", true)
	if err != nil {
		t.Fatalf("connect %s: %v", u.Username, err)
	}
	t.Cleanup(c.Close)
	return c
}

// talk sends a message until it is accepted, as clients do, and waits until it arrives.
func talk(ctx context.Context, t *testing.T, from, to *client.Conn, bob *client.User, text string) {
	t.Helper()
	var err error
	for range 30 {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = from.Call(once, "message.send", client.Object{
			"clientMsgId": "id-" + text, "toUserId": bob.ID, "text": client.Object{"text": text},
		}, nil)
		cancel()
		if err == nil {
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
	for {
		n, e, err := to.NextEntry(ctx)
		if err != nil {
			t.Fatalf("%q did not arrive: %v", text, err)
		}
		if err := to.Send(client.Object{"jsonrpc": "2.0", "method": "ack", "params": client.Object{"n": n}}); err != nil {
			t.Fatal(err)
		}
		if e.Text.Text == text {
			return
		}
	}
}
