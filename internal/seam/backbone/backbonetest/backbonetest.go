// Package backbonetest holds what every implementation of the backbone must pass, and what tests of
// its users need: an embedded backbone in a temporary directory, and a log that fails on demand.
package backbonetest

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

// patience is how long a test waits for what must happen. It decides nothing when all is well.
const patience = 30 * time.Second

// Opener opens a backbone whose streams live under dir: empty for a new dir, and with what an
// earlier backbone of the same dir left. A log holds 4 to 64 MiB. stop ends the backbone; the
// Opener also registers it on t, so calling it twice must be harmless.
type Opener func(t *testing.T, dir string) (b backbone.Backbone, stop func())

// Open returns an embedded backbone that lives as long as t, with logs of 16 MiB.
func Open(t *testing.T) backbone.Backbone {
	t.Helper()
	b, _ := OpenDir(t, t.TempDir())
	return b
}

// OpenDir is an Opener of embedded backbones.
func OpenDir(t *testing.T, dir string) (backbone.Backbone, func()) {
	t.Helper()
	return OpenConfig(t, embedded.Config{Dir: dir, LogMaxBytes: 16 << 20, Partitions: 2, Reserve: 1})
}

// OpenConfig is OpenDir with a configuration of the test's own.
func OpenConfig(t *testing.T, cfg embedded.Config) (*embedded.Server, func()) {
	t.Helper()
	s, err := embedded.New(cfg, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatalf("embedded.New = %v; want nil", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	stopped := false
	stop := func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("Run = %v before it was ready", err)
	}
	return s, stop
}

// Test runs the whole suite.
func Test(t *testing.T, open Opener) {
	t.Run("Log", func(t *testing.T) { testLog(t, open) })
	t.Run("Follow", func(t *testing.T) { testFollow(t, open) })
	t.Run("Queue", func(t *testing.T) { testQueue(t, open) })
	t.Run("Keeper", func(t *testing.T) { testKeeper(t, open) })
	t.Run("Signals", func(t *testing.T) { testSignals(t, open) })
}

// eventually fails t unless cond holds in time; what is told then.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
		tick()
	}
}

// tick lets others run; it is the polling interval, and no test relies on its length.
func tick() {
	timer := time.NewTimer(2 * time.Millisecond)
	<-timer.C
}

func openLog(t *testing.T, b backbone.Backbone) backbone.Log {
	t.Helper()
	l, err := b.Log(t.Context(), 0)
	if err != nil {
		t.Fatalf("Log(0) = %v", err)
	}
	return l
}

// fill appends n messages after from, each its sequence in decimal.
func fill(t *testing.T, l backbone.Log, from, n uint64) {
	t.Helper()
	for seq := from + 1; seq <= from+n; seq++ {
		if got, err := l.Append(t.Context(), text(seq), seq-1); got != seq || err != nil {
			t.Fatalf("Append(expect %d) = %d, %v; want %d, nil", seq-1, got, err, seq)
		}
	}
}

func info(t *testing.T, l backbone.Log) backbone.LogInfo {
	t.Helper()
	i, err := l.Info(t.Context())
	if err != nil {
		t.Fatalf("Info = %v", err)
	}
	return i
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v; want %v", what, err, want)
	}
}
