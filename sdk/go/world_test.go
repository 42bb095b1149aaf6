package oceanchat_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a scripted server with ann (u1), bob (u2) and cid (u3), in a bubble with a clock of its own.
type world struct {
	t   *testing.T
	srv *fakeserver.Server
}

// direct is the conversation of ann and bob.
const direct = "d~u1~u2"

func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, fakeserver.New()}
		for _, name := range []string{"ann", "bob", "cid"} {
			w.srv.AddUser(name, "password of "+name)
		}
		defer w.srv.Close()
		f(t, w)
	})
}

func (w *world) options(name string) oceanchat.Options {
	return oceanchat.Options{
		URL: fakeserver.URL, DialContext: w.srv.Dial, Username: name, Password: "password of " + name,
		DeviceID: "d-" + name, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	}
}

// client returns a client that is not started. It is closed with the bubble.
func (w *world) client(o oceanchat.Options) *oceanchat.Client {
	w.t.Helper()
	c, err := oceanchat.New(o)
	if err != nil {
		w.t.Fatalf("New = %v; want nil", err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// start returns a client that is online.
func (w *world) start(name string, tune ...func(*oceanchat.Options)) *oceanchat.Client {
	w.t.Helper()
	o := w.options(name)
	for _, f := range tune {
		f(&o)
	}
	c := w.client(o)
	if err := c.Start(w.t.Context()); err != nil {
		w.t.Fatalf("Start of %s = %v; want nil", name, err)
	}
	return c
}

func (w *world) rest() oceanchat.REST {
	return oceanchat.REST{URL: fakeserver.URL, HTTP: &http.Client{Transport: &http.Transport{DialContext: w.srv.Dial, DisableKeepAlives: true}}}
}

func with(s store.Store) func(*oceanchat.Options) {
	return func(o *oceanchat.Options) { o.Store = s }
}

// send sends or fails the test.
func (w *world) send(c *oceanchat.Client, to oceanchat.Target, text string) oceanchat.Receipt {
	w.t.Helper()
	r, err := c.Conversation(to).Send(w.t.Context(), oceanchat.Text(text))
	if err != nil {
		w.t.Fatalf("Send(%q) = %v; want nil", text, err)
	}
	return r
}

// inbox collects what a loop over entries yields.
type inbox struct {
	entries chan *messagev1.Entry
	err     chan error
}

// listen runs a loop over entries until ctx ends.
func listen(ctx context.Context, c *oceanchat.Client, from oceanchat.From) *inbox {
	in := &inbox{make(chan *messagev1.Entry, 10_000), make(chan error, 1)}
	go func() {
		for e, err := range c.Entries(ctx, from) {
			if err != nil {
				in.err <- err
				return
			}
			in.entries <- e
		}
	}()
	synctest.Wait()
	return in
}

// take waits for the next n entries and returns them as "conversation/seq text".
func (in *inbox) take(t *testing.T, n int) []string {
	t.Helper()
	var got []string
	for range n {
		select {
		case e := <-in.entries:
			got = append(got, fmt.Sprintf("%s/%d %s", e.GetConversationId(), e.GetSeq(), e.GetText().GetText()))
		case err := <-in.err:
			t.Fatalf("the loop ended after %q: %v", got, err)
		case <-time.After(time.Hour):
			t.Fatalf("only %d entries within an hour: %q; want %d", len(got), got, n)
		}
	}
	return got
}

// nothing fails the test if another entry comes within a minute.
func (in *inbox) nothing(t *testing.T) {
	t.Helper()
	select {
	case e := <-in.entries:
		t.Errorf("one entry too many: %s/%d", e.GetConversationId(), e.GetSeq())
	case <-time.After(time.Minute):
	}
}

// phase waits until the client is in a phase.
func phase(t *testing.T, c *oceanchat.Client, want oceanchat.Phase) oceanchat.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for st := range c.States(ctx) {
		if st.Phase == want {
			return st
		}
	}
	t.Fatalf("state = %+v after an hour; want %s", c.State(), want)
	return oceanchat.State{}
}
