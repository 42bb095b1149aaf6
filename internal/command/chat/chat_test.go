package chat_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/command/chat"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a scripted server at a loopback address.
type world struct {
	t   *testing.T
	srv *fakeserver.Server
	url string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, srv: fakeserver.New()}
	web := httptest.NewServer(w.srv)
	w.url = web.URL
	t.Cleanup(func() {
		w.srv.CutAll()
		web.Close()
		w.srv.Close()
	})
	for _, name := range []string{"ann", "bob", "cid"} {
		w.srv.AddUser(name, "password of "+name)
	}
	return w
}

// output collects what is printed.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// person is one run of the command.
type person struct {
	t        *testing.T
	out, err output
	in       *io.PipeWriter
	code     chan int
}

func (w *world) chat(name string, args ...string) *person {
	w.t.Helper()
	r, in := io.Pipe()
	p := &person{t: w.t, in: in, code: make(chan int, 1)}
	ctx, cancel := context.WithCancel(w.t.Context())
	call := command.Call{
		Args: append([]string{"--addr", w.url, "--user", name}, args...), Env: []string{"OCEANCHAT_PASSWORD=password of " + name},
		In: r, Out: &p.out, Err: &p.err,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.code <- chat.Main(ctx, call)
	}()
	w.t.Cleanup(func() {
		cancel()
		_ = in.Close()
		<-done
	})
	return p
}

func (p *person) types(lines ...string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, strings.Join(lines, "\n")+"\n"); err != nil {
		p.t.Fatalf("type %q: %v", lines, err)
	}
}

// sees waits until something that matches stands on the screen.
func (p *person) sees(pattern string) {
	p.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	for deadline := time.Now().Add(20 * time.Second); !re.MatchString(p.out.String()); {
		if time.Now().After(deadline) {
			p.t.Fatalf("no line matches %q in:\n%s\n%s", pattern, p.out.String(), p.err.String())
		}
		<-time.After(5 * time.Millisecond)
	}
}

// ends waits for the end and checks how it came.
func (p *person) ends(want int) {
	p.t.Helper()
	select {
	case got := <-p.code:
		p.code <- got
		if got != want {
			p.t.Errorf("exit code = %d; want %d\n%s\n%s", got, want, p.out.String(), p.err.String())
		}
	case <-time.After(30 * time.Second):
		p.t.Fatalf("it did not end:\n%s", p.out.String())
	}
}

func TestTalk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.chat("ann", "--to", "bob")
	ann.sees(`^\* talking to bob$`)
	bob := w.chat("bob")
	bob.sees(`^\* no conversations yet`)
	ann.types("hello, bob")
	ann.sees(`^\d\d:\d\d ann: hello, bob$`)
	bob.sees(`^\* ann wrote to you \(1 unread\); /open ann$`)
	bob.types("/list")
	bob.sees(`^  1 ann \(1 unread\)$`)
	bob.types("/open 1")
	bob.sees(`^\d\d:\d\d ann: hello, bob$`)
	bob.types("hi!", "//quit is no command")
	ann.sees(`^\d\d:\d\d bob: hi!$`)
	ann.sees(`^\d\d:\d\d bob: /quit is no command$`)
	bob.types("/group Team ann cid")
	bob.sees(`^\* talking to #Team$`)
	ann.sees(`^\* 0 unread in #Team$`)
	bob.types("all here?", "/who")
	bob.sees(`^  cid`)
	ann.sees(`^\* 1 unread in #Team$`)
	ann.types("/open Team")
	ann.sees(`^\d\d:\d\d \* bob made this group with ann, cid$`)
	ann.types("yes", "/history 1", "/history 101", "/help", "/nonsense", "/open nobody")
	bob.sees(`^\d\d:\d\d ann: yes$`)
	ann.sees(`^\* history: at most the newest 100$`)
	ann.sees(`/quit +end`)
	ann.sees(`no such command`)
	ann.sees(`^\* open: no user "nobody" can be found$`)
	ann.types("/quit")
	ann.ends(command.Failed) // of /nonsense and /open
	if got := w.srv.Unread(fakeserver.Direct("u1", "u2"), "u2"); got != 0 {
		t.Errorf("unread of what bob was shown = %d; want 0", got)
	}
	if got := strings.Count(bob.out.String(), "ann: hello, bob"); got != 1 {
		t.Errorf("bob was shown a message %d times; want once:\n%s", got, bob.out.String())
	}
}

// What others wrote commands no terminal, and looks like nothing of ours.
func TestHostileText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.chat("bob", "--to", "ann")
	bob.sees(`talking to ann`)
	w.srv.Append(fakeserver.Direct("u1", "u2"), "u1", "\x1b[2Jgone\x07 \u009b31m \u202Eevil\t.\n12:00 cid: I am cid\r\x7f")
	bob.sees(`I am cid`)
	out := bob.out.String()
	for _, r := range "\x1b\x07\u009b\u202e\r\x7f" {
		if strings.ContainsRune(out, r) {
			t.Errorf("the output has %U:\n%q", r, out)
		}
	}
	if !strings.Contains(out, "\n      | 12:00 cid: I am cid") {
		t.Errorf("the second line does not show that it is one:\n%q", out)
	}
}

// A line that can not be sent is shown as pending and goes out when the connection is back.
func TestPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.chat("ann", "--to", "bob")
	ann.sees(`talking to bob`)
	w.srv.Play("fail handshake times=-1")
	w.srv.CutAll()
	ann.sees(`^\* connection lost`)
	ann.types("are you there?")
	ann.sees(`^\* pending: are you there\?$`)
	if got := w.srv.Log(fakeserver.Direct("u1", "u2")); len(got) != 0 {
		t.Fatalf("the log = %v; want it empty", got)
	}
	w.srv.Calm()
	ann.sees(`^\* connected again$`)
	ann.sees(`^\* sent: are you there\?$`)
	ann.sees(`^\d\d:\d\d ann: are you there\?$`)
	_ = ann.in.Close()
	ann.ends(command.OK)
}

// With a file, what is not sent at the end is sent by the next start.
func TestState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "ann.db")
	ann := w.chat("ann", "--to", "bob", "--state", file, "--wait", "100ms")
	ann.sees(`talking to bob`)
	w.srv.Play("lose request message.send times=-1")
	ann.types("later")
	_ = ann.in.Close()
	ann.ends(command.Failed)
	if got, want := ann.err.String(), "lines not sent yet: 1; the next start with --state"; !strings.Contains(got, want) {
		t.Errorf("it ends with %q; want %q in it", got, want)
	}
	w.srv.Calm()
	ann = w.chat("ann", "--state", file)
	_ = ann.in.Close()
	ann.ends(command.OK) // and it has waited for what was left
	if got := w.srv.Log(fakeserver.Direct("u1", "u2")); len(got) != 1 || got[0].GetText().GetText() != "later" {
		t.Errorf("the log = %v; want one line", got)
	}
	if got := w.srv.Requests("auth.login"); got != 1 {
		t.Errorf("log-ins = %d; want 1: the file keeps the session", got)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nobody.Close() }()
	w.srv.AddGroup("g", "u3")
	tests := []struct {
		name string
		args []string
		env  string
		in   string
		code int
		want string // part of what is printed
	}{
		{"help", []string{"--help"}, "", "", command.OK, "--register"},
		{"no user", nil, "", "", command.Usage, "oceanchat chat: --user is missing\n\nTalk"},
		{"no such flag", []string{"--password", "x"}, "", "", command.Usage, "-password"},
		{"a word too many", []string{"--user", "ann", "bob"}, "", "", command.Usage, "unexpected word \"bob\"\n\nTalk"},
		{"nobody to ask for the password", []string{"--user", "ann"}, "", "", command.Usage, "OCEANCHAT_PASSWORD"},
		{"wrong password", []string{"--user", "ann"}, "guess", "", command.Failed, "or the password is wrong"},
		{"taken", []string{"--user", "ann", "--register"}, "guess", "", command.Failed, "there is a user ann already"},
		{"no such peer", []string{"--user", "ann", "--to", "dora"}, "password of ann", "", command.Failed, `no user "dora" can be found`},
		{"oneself", []string{"--user", "ann", "--to", "ann"}, "password of ann", "", command.Failed, "that is you"},
		{"nothing open", []string{"--user", "bob"}, "password of bob", "hello\n/who\n/history\n/open\n/group\n", command.Failed, "not delivered or not obeyed: 5"},
		{"no URL", []string{"--user", "ann", "--addr", "ftp://h"}, "x", "", command.Usage, "--addr must begin with http://"},
		{"nothing open, one line", []string{"--user", "bob"}, "password of bob", "hello\n", command.Failed, "not sent: hello: no conversation is open"},
		{"no such command", []string{"--user", "bob", "--to", "ann"}, "password of bob", "/opne x\n", command.Failed, "no such command: /opne"},
		{"half a name", []string{"--user", "bob", "--to", "ann"}, "password of bob", "/group \"Ops team\n", command.Failed, "a quotation mark is missing"},
		{"a new one", []string{"--user", "eve", "--register"}, "a new password", "/list\n", command.OK, "* registered eve"},
		{"bad number", []string{"--user", "cid", "--to", "bob"}, "password of cid", "/history x\n", command.Failed, `"x" is no number`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			call := command.Call{Args: tt.args, In: strings.NewReader(tt.in), Out: &out, Err: &out}
			if !strings.Contains(strings.Join(tt.args, " "), "--addr") {
				call.Args = append([]string{"--addr", w.url}, tt.args...)
			}
			if tt.env != "" {
				call.Env = []string{"OCEANCHAT_PASSWORD=" + tt.env}
			}
			if got := chat.Main(t.Context(), call); got != tt.code || !strings.Contains(out.String(), tt.want) {
				t.Errorf("Main(%q) = %d and %q; want %d and %q", tt.args, got, out.String(), tt.code, tt.want)
			}
		})
	}
}

// The end of the input waits until everything typed before it is sent.
func TestPiped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Play("cut reply message.send times=2") // so it takes a while
	var want []string
	for _, c := range "abcdefgh" {
		want = append(want, strings.Repeat(string(c), 3))
	}
	var out output
	code := chat.Main(t.Context(), command.Call{
		Args: []string{"--addr", w.url, "--user", "ann", "--to", "bob"}, Env: []string{"OCEANCHAT_PASSWORD=password of ann"},
		In: strings.NewReader(strings.Join(want, "\n")), Out: &out, Err: &out,
	})
	var got []string
	for _, e := range w.srv.Log(fakeserver.Direct("u1", "u2")) {
		got = append(got, e.GetText().GetText())
	}
	if d := cmp.Diff(want, got); d != "" || code != command.OK {
		t.Errorf("exit code %d; the log (-want +got):\n%s\n%s", code, d, out.String())
	}
}
