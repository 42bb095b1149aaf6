package chat_test

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/command/chat"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
	"github.com/oceanchat/oceanchat/sdk/go/sqlitestore"
)

// once runs the command with in as its whole input and returns what it prints.
func once(t *testing.T, password, in string, args ...string) (code int, out string) {
	t.Helper()
	var buf bytes.Buffer
	call := command.Call{Args: args, In: strings.NewReader(in), Out: &buf, Err: &buf}
	if password != "" {
		call.Env = []string{"OCEANCHAT_PASSWORD=" + password}
	}
	code = chat.Main(t.Context(), call)
	return code, buf.String()
}

func (w *world) once(password, in string, args ...string) (code int, out string) {
	w.t.Helper()
	return once(w.t, password, in, append([]string{"--addr", w.url}, args...)...)
}

// wants fails the test if a run did not end with code, or did not print want.
func wants(t *testing.T, what string, code int, out string, wantCode int, want string) {
	t.Helper()
	if code != wantCode || !strings.Contains(out, want) {
		t.Errorf("%s = %d and\n%s\nwant %d and %q", what, code, out, wantCode, want)
	}
}

// A file with a session needs no password; one without asks for it.
func TestStateNeedsNoPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "ann.db")
	code, out := w.once("", "", "--user", "ann", "--state", file)
	wants(t, "chat with a new file and no password", code, out, command.Usage, "OCEANCHAT_PASSWORD")
	code, out = w.once("password of ann", "", "--user", "ann", "--state", file)
	wants(t, "chat with a password", code, out, command.OK, "ann is online")
	code, out = w.once("", "hello\n", "--user", "ann", "--state", file, "--to", "bob")
	wants(t, "chat with a session", code, out, command.OK, "talking to bob")
	code, out = w.once("", "hello\n", "--user", "bob", "--state", file, "--to", "ann")
	wants(t, "chat with another user's file", code, out, command.Failed, "is not for user bob: the Store belongs to user ann, not to bob")
	w.srv.EndSessions("u1")
	code, out = w.once("", "hello\n", "--user", "ann", "--state", file, "--to", "bob")
	wants(t, "chat with a session that is over", code, out, command.Usage, "OCEANCHAT_PASSWORD")
	wants(t, "chat with a session that is over", code, out, command.Usage, "the session in "+file+" can not go on: ")
}

// With a session in the file and no server, lines are kept, and the exit code says that they are not sent.
func TestStateWithoutAServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "ann.db")
	code, out := w.once("password of ann", "first\n", "--user", "ann", "--state", file, "--to", "bob")
	wants(t, "chat", code, out, command.OK, "talking to bob")
	w.srv.Play("fail handshake times=-1")
	begun := time.Now()
	code, out = w.once("", "second\nthird\n", "--user", "ann", "--state", file, "--to", "bob", "--wait", "100ms")
	wants(t, "chat without a server", code, out, command.Failed, "lines not sent yet: 2; the next start with --state "+file)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v; want little more than --wait", took)
	}
	code, out = w.once("", strings.Repeat("more\n", 150), "--user", "ann", "--state", file, "--to", "bob", "--wait", "100ms")
	wants(t, "chat with more lines than may wait", code, out, command.Failed, "not read on from: more")
	w.srv.Calm()
	code, out = w.once("", "", "--user", "ann", "--state", file)
	wants(t, "chat with a server", code, out, command.OK, "ann is online")
	log := w.srv.Log(fakeserver.Direct("u1", "u2"))
	if len(log) < 3 || log[1].GetText().GetText() != "second" || log[2].GetText().GetText() != "third" {
		t.Errorf("the log has %d entries: %v; want first, second, third and some more", len(log), log)
	}
}

// What is wrong with a file is said in plain words.
func TestStateFileThatIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	junk, busy := filepath.Join(t.TempDir(), "junk.txt"), filepath.Join(t.TempDir(), "busy.db")
	if err := os.WriteFile(junk, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := sqlitestore.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	for file, want := range map[string]string{junk: "the file is not a client's store", busy: "another program has the file open"} {
		code, out := w.once("x", "", "--user", "ann", "--state", file)
		wants(t, "chat with "+file, code, out, command.Failed, want+"\n")
	}
}

// What time does not mend is said at once.
func TestHopeless(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secure := httptest.NewTLSServer(w.srv)
	defer secure.Close()
	begun := time.Now()
	code, out := once(t, "password of ann", "", "--user", "ann", "--addr", secure.URL)
	wants(t, "chat over TLS with an unknown authority", code, out, command.Failed, "is not trusted")
	wants(t, "chat over TLS with an unknown authority", code, out, command.Failed, "SSL_CERT_FILE")
	code, out = once(t, "password of ann", "", "--user", "ann", "--addr", strings.Replace(w.url, "http://", "https://", 1))
	wants(t, "chat over TLS to a server without", code, out, command.Failed, "HTTPS")
	w.srv.Play("fail request auth.login RESOURCE_EXHAUSTED/RATE_LIMITED retryAfter=60s times=-1")
	code, out = w.once("password of ann", "", "--user", "ann")
	wants(t, "chat while log-ins are limited", code, out, command.Failed, "try again in 1m0s")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v; want it at once", took)
	}
	if strings.Contains(out, ": :") {
		t.Errorf("an error with an empty part:\n%s", out)
	}
}

// A name that several groups have is not enough to send to one of them.
func TestSameNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, out := w.once("password of ann", "/group \"Ops team\" bob\nfor bob\n/group \"Ops team\" cid\nfor cid\n/group Single\n", "--user", "ann")
	wants(t, "making groups", code, out, command.OK, "talking to #Ops team")
	code, out = w.once("password of cid", "/group Twins\n/group Twins\n/open Twins\n", "--user", "cid")
	wants(t, "/open right behind /group", code, out, command.Failed, "2 conversations are called so")
	code, out = w.once("password of ann", "hello\n", "--user", "ann", "--to", "#Ops team")
	wants(t, "--to with two groups", code, out, command.Failed, "2 conversations are called so")
	for _, id := range []string{"#Ops team g~g1", "#Ops team g~g2"} {
		wants(t, "--to with two groups", code, out, command.Failed, id)
	}
	if strings.Contains(out, "#Single") {
		t.Errorf("it lists another one:\n%s", out)
	}
	code, out = w.once("password of ann", "/list\n/open Ops team\n/open g~g1\nto the first\n/open Ops team\n/open 1\nto number one\n", "--user", "ann")
	wants(t, "/open with two groups", code, out, command.Failed, "not delivered or not obeyed: 2")
	wants(t, "/list", code, out, command.Failed, "#Single\n")
	log := w.srv.Log("g~g1")
	if n := len(log); n < 2 || log[n-1].GetText().GetText() != "to number one" && log[n-1].GetText().GetText() != "to the first" {
		t.Errorf("the log = %v; want the line that was for it", log)
	}
	if got := w.srv.Requests("message.send"); got != 4 {
		t.Errorf("%d messages were sent; want 4", got)
	}
}
