package embedded_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

// One appender with a message of 300 bytes at a time, and a reader that keeps up.
func BenchmarkAppendFollow(b *testing.B) {
	for _, sync := range []string{embedded.SyncAlways, embedded.SyncInterval} {
		b.Run(sync, func(b *testing.B) { benchAppend(b, sync) })
	}
}

func benchAppend(b *testing.B, sync string) {
	s, err := embedded.New(embedded.Config{Dir: b.TempDir(), Sync: sync, LogMaxBytes: 4 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	l, err := s.Log(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	read, last := make(chan struct{}), uint64(b.N)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(read)
		_ = l.Follow(reading, backbone.Reader{Name: "reader", Handle: func(_ context.Context, run []backbone.Message) error {
			if run[len(run)-1].Seq == last {
				stop()
			}
			return nil
		}})
	}()
	data := make([]byte, 300)
	b.ResetTimer()
	for seq := range last {
		if _, err := l.Append(ctx, data, seq); err != nil {
			b.Fatal(err)
		}
	}
	<-read
}
