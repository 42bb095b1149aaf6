package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// requesters returns two Backbones with a connection each, as two processes have, and the server.
func requesters(t *testing.T) (caller, other *Backbone, srv *natsserver.Server) {
	t.Helper()
	srv = serve(t, func(o *natsserver.Options) { o.JetStream = false })
	return newBackbone(t, connect(t, srv), Config{}), newBackbone(t, connect(t, srv), Config{}), srv
}

func seconds(t *testing.T, n int) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func respond(t *testing.T, b *Backbone, r backbone.Responder) (stop func(context.Context)) {
	t.Helper()
	if r.Limit == 0 {
		r.Limit = 100
	}
	stop, err := b.Respond(r)
	if err != nil {
		t.Fatalf("Respond = %v", err)
	}
	t.Cleanup(func() { stop(t.Context()) })
	return stop
}

func echo(r backbone.Envelope) backbone.Envelope { return r }

func TestRequest(t *testing.T) {
	t.Parallel()
	caller, other, _ := requesters(t)
	respond(t, other, backbone.Responder{Subject: "oc.x", Group: "g", Handle: echo})
	sent := backbone.Envelope{Header: backbone.Header{}, Data: []byte("hello")}
	sent.Header.Set("oc-word", "a b")
	got, err := caller.Request(seconds(t, 10), "oc.x", sent)
	if err != nil || string(got.Data) != "hello" || got.Header.Get("oc-word") != "a b" || got.Header.Get("else") != "" {
		t.Errorf("Request = %+v, %v; want what was sent", got, err)
	}
	got, err = caller.Request(seconds(t, 10), "oc.x", backbone.Envelope{})
	if err != nil || len(got.Data) != 0 {
		t.Errorf("Request of nothing = %+v, %v; want nothing", got, err)
	}
}

func TestRequestOutcomes(t *testing.T) {
	t.Parallel()
	caller, other, _ := requesters(t)
	respond(t, other, backbone.Responder{Subject: "oc.large", Handle: func(backbone.Envelope) backbone.Envelope {
		return backbone.Envelope{Data: make([]byte, 2<<20)}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	respond(t, other, backbone.Responder{Subject: "oc.never", Handle: func(backbone.Envelope) backbone.Envelope {
		cancel()
		return backbone.Envelope{Header: backbone.Header{headerRefused: {"of a newer version"}}}
	}})
	closed := newBackbone(t, connect(t, serve(t, nil)), Config{})
	closed.conn.Close()
	tests := []struct {
		name    string
		b       *Backbone
		subject string
		size    int
		want    error
	}{
		{"nobody", caller, "oc.nobody", 1, backbone.ErrNoResponders},
		{"large request", caller, "oc.large", 2 << 20, backbone.ErrRefused},
		{"large answer", caller, "oc.large", 1, backbone.ErrTooLarge},
		{"no connection", closed, "oc.large", 1, backbone.ErrRefused},
		{"no subject", caller, "oc large", 1, backbone.ErrRefused},
		{"refused for a reason of a newer version", caller, "oc.never", 1, errUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.b.Request(seconds(t, 10), tt.subject, backbone.Envelope{Data: make([]byte, tt.size)})
			if want := tt.want; errors.Is(want, errUnknown) {
				for _, certain := range []error{backbone.ErrNoResponders, backbone.ErrBusy, backbone.ErrRefused, backbone.ErrTooLarge} {
					if err == nil || errors.Is(err, certain) {
						t.Errorf("Request = %v; want an outcome that is not known", err)
					}
				}
			} else if !errors.Is(err, want) {
				t.Errorf("Request = %v; want %v", err, want)
			}
		})
	}
	if _, err := caller.Request(ctx, "oc.never", backbone.Envelope{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Request with an ended context = %v; want %v", err, context.Canceled)
	}
}

// A request that waits does not hold up the others, and what is beyond the bound is told so (invariant 7).
func TestRespondBound(t *testing.T) {
	t.Parallel()
	caller, other, _ := requesters(t)
	ctx := seconds(t, 20)
	entered, free := make(chan struct{}), make(chan struct{})
	respond(t, other, backbone.Responder{Subject: "oc.x", Limit: 2, Handle: func(r backbone.Envelope) backbone.Envelope {
		entered <- struct{}{}
		<-free
		return r
	}})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := caller.Request(ctx, "oc.x", backbone.Envelope{}); err != nil {
				t.Errorf("Request within the bound = %v; want no error", err)
			}
		})
		<-entered
	}
	if _, err := caller.Request(ctx, "oc.x", backbone.Envelope{}); !errors.Is(err, backbone.ErrBusy) {
		t.Errorf("Request beyond the bound = %v; want %v", err, backbone.ErrBusy)
	}
	close(free)
	wg.Wait()
}

// Two of a group share the requests; when one stops under load, none is lost.
func TestRespondStops(t *testing.T) {
	t.Parallel()
	caller, first, srv := requesters(t)
	second := newBackbone(t, connect(t, srv), Config{})
	ctx := seconds(t, 30)
	var served [2]atomic.Int64
	count := func(n int) func(backbone.Envelope) backbone.Envelope {
		return func(r backbone.Envelope) backbone.Envelope {
			served[n].Add(1)
			return r
		}
	}
	stop := respond(t, first, backbone.Responder{Subject: "oc.x", Group: "g", Handle: count(0)})
	respond(t, second, backbone.Responder{Subject: "oc.x", Group: "g", Handle: count(1)})
	var wg sync.WaitGroup
	var stopped atomic.Bool
	for c := range 8 {
		wg.Go(func() {
			for n, after := 0, 0; after < 50; n++ {
				if stopped.Load() {
					after++
				}
				want := fmt.Sprintf("%d-%d", c, n)
				if got, err := caller.Request(ctx, "oc.x", backbone.Envelope{Data: []byte(want)}); err != nil || string(got.Data) != want {
					t.Errorf("Request(%s) = %s, %v; want it back", want, got.Data, err)
					return
				}
			}
		})
	}
	for ctx.Err() == nil && (served[0].Load() < 50 || served[1].Load() < 50) {
		pause(ctx, time.Millisecond)
	}
	stop(ctx)
	last := served[0].Load()
	stopped.Store(true)
	wg.Wait()
	if got := served[0].Load(); got != last {
		t.Errorf("%d requests were served after stop; want 0", got-last)
	}
}

// The bound of stop is the caller's.
func TestRespondStopEnds(t *testing.T) {
	t.Parallel()
	caller, other, _ := requesters(t)
	entered, free := make(chan struct{}), make(chan struct{})
	stop := respond(t, other, backbone.Responder{Subject: "oc.x", Handle: func(r backbone.Envelope) backbone.Envelope {
		close(entered)
		<-free
		return r
	}})
	got := make(chan error, 1)
	go func() {
		_, err := caller.Request(seconds(t, 20), "oc.x", backbone.Envelope{})
		got <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	stop(ctx)
	if ctx.Err() == nil {
		t.Error("stop returned before the request under way was answered; want that it waits until its context ends")
	}
	close(free)
	if err := <-got; err != nil {
		t.Errorf("Request that outlasts stop = %v; want its answer all the same", err)
	}
}

// A server that goes away and comes back: requests fail at once meanwhile, and responders are there again.
func TestRequestReconnects(t *testing.T) {
	t.Parallel()
	addrs, err := freeport.Take(1)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(addrs[0], ":")
	listen := func(o *natsserver.Options) {
		o.JetStream, o.DontListen, o.Host = false, false, host
		o.Port, _ = strconv.Atoi(port)
	}
	srv := serve(t, listen)
	url := srv.ClientURL()
	caller, other := newBackbone(t, dialURL(t, url), Config{}), newBackbone(t, dialURL(t, url), Config{})
	respond(t, other, backbone.Responder{Subject: "oc.x", Handle: echo})
	ctx := seconds(t, 30)
	if _, err := caller.Request(ctx, "oc.x", backbone.Envelope{}); err != nil {
		t.Fatalf("Request = %v", err)
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	for caller.conn.IsConnected() || other.conn.IsConnected() {
		pause(ctx, time.Millisecond)
	}
	if _, err := caller.Request(ctx, "oc.x", backbone.Envelope{}); !errors.Is(err, backbone.ErrRefused) {
		t.Errorf("Request without a server = %v; want %v", err, backbone.ErrRefused)
	}
	serve(t, listen)
	for {
		got, err := caller.Request(ctx, "oc.x", backbone.Envelope{Data: []byte("again")})
		if err == nil && bytes.Equal(got.Data, []byte("again")) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("Request after the server came back = %v; want no error", err)
		}
		pause(ctx, 5*time.Millisecond)
	}
}

func dialURL(t *testing.T, url string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url, Options(slog.New(slog.DiscardHandler))...)
	if err != nil {
		t.Fatalf("Connect = %v", err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// Whoever takes a request and dies, hangs or is cut off is noticed by its silence, long before the caller's deadline.
func TestRequestToTheDead(t *testing.T) {
	t.Parallel()
	caller, other, _ := requesters(t)
	caller.inbox.silence = 300 * time.Millisecond
	other.signEvery = 20 * time.Millisecond
	entered, free := make(chan struct{}), make(chan struct{})
	defer close(free)
	respond(t, other, backbone.Responder{Subject: "oc.x", Group: "g", Handle: func(r backbone.Envelope) backbone.Envelope {
		close(entered)
		<-free
		return r
	}})
	ctx, got := seconds(t, 60), make(chan error, 1)
	go func() {
		_, err := caller.Request(ctx, "oc.x", backbone.Envelope{})
		got <- err
	}()
	<-entered
	other.conn.Close()
	if err := <-got; !errors.Is(err, backbone.ErrSilent) {
		t.Errorf("Request whose responder is gone = %v; want %v", err, backbone.ErrSilent)
	}
}

// A request that takes many times the silence is waited for, as its responder gives signs of life; and a caller that does not know of signs gets none.
func TestLongRequest(t *testing.T) {
	t.Parallel()
	caller, other, _ := requesters(t)
	caller.inbox.silence = 300 * time.Millisecond
	other.signEvery = 20 * time.Millisecond
	respond(t, other, backbone.Responder{Subject: "oc.x", Handle: func(r backbone.Envelope) backbone.Envelope {
		pause(t.Context(), 6*caller.inbox.silence)
		return r
	}})
	ctx := seconds(t, 60)
	if got, err := caller.Request(ctx, "oc.x", backbone.Envelope{Data: []byte("done")}); err != nil || string(got.Data) != "done" {
		t.Errorf("Request that takes long = %s, %v; want its answer", got.Data, err)
	}
	m, err := caller.conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: "oc.x", Data: []byte("old")})
	if err != nil || string(m.Data) != "old" {
		t.Errorf("request of an older version = %v, %v; want its answer and nothing before it", m, err)
	}
	caller.inbox.mu.Lock()
	defer caller.inbox.mu.Unlock()
	if n := len(caller.inbox.waiting); n != 0 {
		t.Errorf("%d requests are remembered after their answers; want 0", n)
	}
}
