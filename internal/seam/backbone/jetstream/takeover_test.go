package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// A reader whose connection is cut gives nothing back: its pin lapses, and another instance reads
// on, with what had been delivered to the first and with no new message to wake it.
func TestTakeOverFromDead(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv := serve(t, nil)
	dead, alive := connect(t, srv), connect(t, srv)
	l, err := newBackbone(t, dead, Config{LogMaxBytes: 1 << 20}).Log(ctx, 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	for seq := range uint64(10) {
		if _, err := l.Append(ctx, []byte("x"), seq); err != nil {
			t.Fatalf("Append = %v", err)
		}
	}
	first, end := context.WithCancel(ctx)
	var tried atomic.Bool
	ended := make(chan error, 1)
	go func() {
		ended <- l.Follow(first, backbone.Reader{Name: "reader", Handle: func(context.Context, []backbone.Message) error {
			if !tried.Swap(true) {
				dead.Close()
			}
			return errors.New("hangs")
		}})
	}()
	heir, err := newBackbone(t, alive, Config{LogMaxBytes: 1 << 20}).Log(ctx, 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	for !tried.Load() {
		pause(ctx, time.Millisecond)
	}
	second, done := context.WithCancel(ctx)
	next := uint64(1)
	err = heir.Follow(second, backbone.Reader{Name: "reader", Handle: func(_ context.Context, run []backbone.Message) error {
		for _, m := range run {
			if m.Seq != next {
				t.Errorf("got %d; want %d", m.Seq, next)
			}
			next = m.Seq + 1
		}
		if next > 10 {
			done()
		}
		return nil
	}})
	if err != nil || ctx.Err() != nil || next != 11 {
		t.Errorf("Follow = %v, %v, next %d; want all 10", err, ctx.Err(), next)
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("Follow of the dead = %v; want nil", err)
	}
}

// A reader that handles a run for so long that another one takes over does not acknowledge it behind the other's back:
// what the server counts stays right, and the floor comes to the end.
func TestTakeOverFromSlow(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv := serve(t, nil)
	open := func() backbone.Log {
		l, err := newBackbone(t, connect(t, srv), Config{LogMaxBytes: 1 << 20}).Log(ctx, 0)
		if err != nil {
			t.Fatalf("Log = %v", err)
		}
		return l
	}
	slow, quick := open(), open()
	// The slow one stops in the middle: before that it has got more than the other will get after it, so that its count is
	// ahead; and behind that lies more than is read ahead, so that it asks for nothing and loses its place.
	const backlog, stop = 2000, 1100
	for seq := range uint64(backlog) {
		if _, err := slow.Append(ctx, []byte("x"), seq); err != nil {
			t.Fatalf("Append = %v", err)
		}
	}
	var ended sync.WaitGroup
	defer ended.Wait()
	defer cancel()
	stuck, goOn, taken := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var first, other sync.Once
	ended.Go(func() {
		_ = slow.Follow(ctx, backbone.Reader{Name: "reader", MaxBatch: 100, Handle: func(_ context.Context, run []backbone.Message) error {
			switch {
			case run[0].Seq > stop:
				first.Do(func() { close(stuck); <-goOn })
			case run[len(run)-1].Seq > stop-100:
				pause(ctx, ackEvery) // so that what it has done is acknowledged
			}
			return nil
		}})
	})
	<-stuck
	ended.Go(func() {
		_ = quick.Follow(ctx, backbone.Reader{Name: "reader", MaxBatch: 10, Handle: func(_ context.Context, run []backbone.Message) error {
			if run[0].Seq > stop+400 { // it has been given what the slow one handles, and not acknowledged it yet
				other.Do(func() { close(taken) })
			}
			return nil
		}})
	})
	<-taken
	close(goOn)
	for last := uint64(backlog); ; last++ { // also what comes later is counted
		for floor := uint64(0); floor < last; {
			var err error
			if floor, err = quick.Floor(ctx, "reader"); err != nil {
				t.Fatalf("Floor = %d, %v; want %d", floor, err, last)
			}
			pause(ctx, 10*time.Millisecond)
		}
		if last == backlog+3 {
			return
		}
		if _, err := quick.Append(ctx, []byte("x"), last); err != nil {
			t.Fatalf("Append = %v", err)
		}
	}
}

// A reader that messages came to, and nobody else, goes on when the server comes back with an empty disk: its consumer is
// gone, and no error tells it so.
func TestConsumerIsGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addresses, err := freeport.Take(1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := netip.ParseAddrPort(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	listen := func(o *natsserver.Options) { o.DontListen, o.Host, o.Port = false, at.Addr().String(), int(at.Port()) }
	open := func() backbone.Log {
		conn, err := nats.Connect("nats://"+addresses[0], Options(slog.New(slog.DiscardHandler))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		l, err := newBackbone(t, conn, Config{LogMaxBytes: 1 << 20}).Log(ctx, 0)
		if err != nil {
			t.Fatalf("Log = %v", err)
		}
		return l
	}
	srv := serve(t, listen)
	l := open()
	read, ended := make(chan string, 10), make(chan error, 1)
	following, stop := context.WithCancel(ctx)
	go func() {
		ended <- l.Follow(following, backbone.Reader{Name: "reader", Handle: func(_ context.Context, run []backbone.Message) error {
			for _, m := range run {
				read <- string(m.Data)
			}
			return nil
		}})
	}()
	for _, want := range []string{"before", "after"} {
		if _, err := open().Append(ctx, []byte(want), 0); err != nil {
			t.Fatalf("Append = %v", err)
		}
		select {
		case got := <-read:
			if got != want {
				t.Errorf("read %q; want %q", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("%q was not read", want)
		}
		if want == "before" {
			srv.Shutdown()
			srv.WaitForShutdown()
			serve(t, listen)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Follow = %v; want nil", err)
	}
}
