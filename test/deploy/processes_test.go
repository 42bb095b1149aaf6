package deploy_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/app"
	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/tools/mongostandin/standin"
)

// fleet is every target as a process of the real binary, each as the NATS user of its name.
type fleet struct {
	procs  map[string]*process
	shared []string // environment of all
	grpc   map[string]string
}

type process struct {
	cmd  *exec.Cmd
	log  string // its file
	ops  string
	gone chan error
}

// The real binary starts under each user of the shipped configuration, people talk to each other over it, and no server
// ever refuses it anything. One more process, of several targets, runs as the user for that.
func TestProcesses(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server in PATH (Debian: apt-get install redis-server)") // .ci/run installs it, and fails on a skip
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "oceanchat")
	if out, err := exec.Command("go", "build", "-o", bin, root+"/cmd/oceanchat").CombinedOutput(); err != nil {
		t.Fatalf("build oceanchat: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	mongo, err := standin.Start(ctx, 0)
	if errors.Is(err, standin.ErrUnavailable) {
		t.Skip(err) // .ci/run installs Java and Maven, and fails on a skip
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mongo.Stop() })
	c := startServers(t)
	f := &fleet{procs: map[string]*process{}, grpc: map[string]string{}}
	targets := app.Targets()
	addrs := unused(t, 2*len(targets)+4)
	var peers []string
	for i, target := range targets {
		f.grpc[target] = addrs[i]
		peers = append(peers, target+"="+addrs[i])
	}
	several := addrs[2*len(targets)]
	for _, target := range []string{"user", "presence", "query"} {
		peers = append(peers, target+"="+several)
	}
	rest, ws := addrs[2*len(targets)+2], addrs[2*len(targets)+3]
	f.shared = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "OCEANCHAT_NATS_URLS=" + strings.ReplaceAll(c.urls, "tls://", "nats://"),
		"OCEANCHAT_NATS_TLS_ENABLED=true", "OCEANCHAT_NATS_TLS_CA=" + c.ca, "OCEANCHAT_REDIS_ADDRS=" + startRedis(t),
		"OCEANCHAT_MONGO_URI=" + strings.TrimSuffix(mongo.URI, "/") + "/oceanchat", "OCEANCHAT_GRPC_ADDRS=" + strings.Join(peers, ","),
		"OCEANCHAT_LOG_PARTITIONS=2", "OCEANCHAT_LOG_MAX_BYTES=64MiB", "OCEANCHAT_HTTP_ADDR=" + rest, "OCEANCHAT_WS_GATEWAY_ADDR=" + ws,
		"OCEANCHAT_TCP_ADDR=", "OCEANCHAT_WS_GATEWAY_DRAIN_SPREAD=0s", "OCEANCHAT_AUTH_HASH_MEMORY=64KiB", "OCEANCHAT_API_GATEWAY_RATE_LIMIT=0",
	}
	for i, target := range targets {
		f.start(t, bin, target, c.passwords[target], []string{target}, f.grpc[target], addrs[len(targets)+i])
	}
	f.start(t, bin, "oceanchat", c.passwords["oceanchat"], []string{"user", "presence", "query"}, several, addrs[2*len(targets)+1])
	for name, p := range f.procs {
		eventually(t, name+" is ready", func() bool { return p.ready() })
	}
	talk(ctx, t, "http://"+rest, "http://"+ws)
	f.stop(t)
}

// startRedis runs a server of its own and returns its address.
func startRedis(t *testing.T) string {
	t.Helper()
	addr := unused(t, 1)[0]
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "redis listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return addr
}

func (f *fleet) start(t *testing.T, bin, user, password string, targets []string, grpc, ops string) {
	t.Helper()
	dir := t.TempDir()
	p := &process{log: filepath.Join(dir, user+".log"), ops: ops, gone: make(chan error, 1)}
	lines, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(bin, targets...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, lines, lines
	p.cmd.Env = append(append([]string{}, f.shared...), "OCEANCHAT_NATS_USER="+user, "OCEANCHAT_NATS_PASSWORD="+password,
		"OCEANCHAT_GRPC_ADDR="+grpc, "OCEANCHAT_OPS_ADDR="+ops)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.gone <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = lines.Close()
		if t.Failed() {
			t.Logf("%s said:\n%s", user, tail(p.said(), 15))
		}
	})
	f.procs[user] = p
}

func (p *process) ready() bool {
	resp, err := http.Get("http://" + p.ops + "/readyz")
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK
}

func (p *process) said() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

var violation = regexp.MustCompile(`(?i)[^\n]*permissions? violation[^\n]*`)

// stop ends all processes as an operator does, and reads what they had to say.
func (f *fleet) stop(t *testing.T) {
	t.Helper()
	for _, p := range f.procs {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	end := time.After(30 * time.Second)
	for name, p := range f.procs {
		select {
		case err := <-p.gone:
			if err != nil {
				t.Errorf("%s ended with %v; want nil", name, err)
			}
		case <-end:
			t.Fatalf("%s does not end", name)
		}
		if lines := violation.FindAllString(p.said(), -1); lines != nil {
			t.Errorf("%s was refused %d times:\n%s", name, len(lines), strings.Join(lines, "\n"))
		}
	}
}

// talk walks over every service: two people register, become friends, one is on line and one is not, a message goes each way,
// history is read, a group is made, one logs out.
func talk(ctx context.Context, t *testing.T, rest, ws string) {
	t.Helper()
	no := func(err error, what string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s = %v", what, err)
		}
	}
	ann, err := client.Register(ctx, rest, "ann")
	no(err, "register ann")
	bob, err := client.Register(ctx, rest, "bob")
	no(err, "register bob")
	at := *bob
	at.Base = ws
	conn, err := at.Connect(ctx, "", true)
	no(err, "connect bob")
	defer conn.Close()
	var group struct {
		Group struct{ ConversationID, GroupID string }
	}
	no(ann.Do(ctx, "POST", "/groups", client.Object{"clientMsgId": "g1", "name": "walk", "memberIds": []string{bob.ID}}, &group), "make a group")
	var sent struct{ ConversationID string }
	no(ann.Do(ctx, "POST", "/messages", client.Object{"clientMsgId": "m1", "toUserId": bob.ID, "text": client.Object{"text": "hello"}}, &sent), "send to bob")
	for {
		_, e, err := conn.NextEntry(ctx)
		no(err, "bob's entry")
		if e.Text.Text == "hello" {
			break
		}
	}
	no(conn.Call(ctx, "message.send", client.Object{
		"clientMsgId": "m2", "conversationId": sent.ConversationID, "text": client.Object{"text": "hi"},
	}, nil), "send to ann, who is not on line")
	eventually(t, "ann reads both", func() bool {
		var page struct{ Entries []client.Entry }
		err := ann.Do(ctx, "GET", "/conversations/"+sent.ConversationID+"/entries", nil, &page)
		return err == nil && len(page.Entries) == 2
	})
	no(ann.Do(ctx, "POST", "/auth/logout", client.Object{}, nil), "log out ann")
	no(bob.Do(ctx, "POST", "/auth/logout", client.Object{}, nil), "log out bob")
	if _, err := conn.Closed(ctx); err != nil {
		t.Errorf("bob's connection after his log-out: %v; want it closed", err)
	}
}
