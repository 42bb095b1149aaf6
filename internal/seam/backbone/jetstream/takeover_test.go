package jetstream

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

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
	l, err = newBackbone(t, alive, Config{LogMaxBytes: 1 << 20}).Log(ctx, 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	for !tried.Load() {
		pause(ctx, time.Millisecond)
	}
	second, done := context.WithCancel(ctx)
	next := uint64(1)
	err = l.Follow(second, backbone.Reader{Name: "reader", Handle: func(_ context.Context, run []backbone.Message) error {
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
