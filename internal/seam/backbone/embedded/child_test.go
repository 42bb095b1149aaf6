package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

// children are the programs that a test may run as a child, by mode.
var children = map[string]func(dir string) error{
	"append":          childAppend,
	"append-interval": childInterval,
	"rlimit":          childRlimit,
	"tmpfs":           childTmpfs,
	"reserve":         childReserve,
}

func child(t *testing.T, mode, dir string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), childMode+"="+mode, "OCEANCHAT_TEST_DIR="+dir)
	return c
}

func text(seq uint64) string { return fmt.Sprintf("message %d ", seq) }

// run starts an embedded backbone that lives until the process ends.
func run(cfg embedded.Config) (*embedded.Server, error) {
	s, err := embedded.New(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return nil, err
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(context.Background(), func() { close(ready) }) }()
	select {
	case <-ready:
		return s, nil
	case err := <-ended:
		return nil, err
	}
}

// until polls cond for half a minute.
func until(what string, cond func() bool) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-poll.C {
		if cond() {
			return nil
		}
	}
	return fmt.Errorf("still not: %s", what)
}

// disk is a disk that a test can make full and give space again.
type disk struct {
	dir         string
	fill, clear func() error
}

// fullDisk plays what a full disk does to the log, and judges it.
func fullDisk(cfg embedded.Config, d disk) error {
	cfg.Dir = d.dir
	ctx := context.Background()
	s, err := run(cfg)
	if err != nil {
		return err
	}
	l, err := s.Log(ctx, 0)
	if err != nil {
		return err
	}
	seen := make(chan uint64, 1<<16)
	go func() {
		_ = l.Follow(ctx, backbone.Reader{Name: "reader", Handle: func(_ context.Context, run []backbone.Message) error {
			for _, m := range run {
				seen <- m.Seq
			}
			return nil
		}})
	}()
	acked, err := appendUntil(ctx, l, 0, 20)
	if err != nil {
		return fmt.Errorf("before the disk is full: %w", err)
	}
	for round := range 2 {
		if err := d.fill(); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
		if acked, err = appendUntil(ctx, l, acked, 100_000); !errors.Is(err, backbone.ErrFull) {
			return fmt.Errorf("round %d: append %d to a full disk = %w; want ErrFull", round, acked+1, err)
		}
		fmt.Println("full at", acked, err)
		if guarded := cfg.Reserve > 1; guarded == strings.Contains(err.Error(), "storage failed") {
			return fmt.Errorf("append = %w; want the guard's word, or without it the storage's", err)
		}
		if err := s.Writable(ctx); err == nil {
			return errors.New("Writable = nil with a full disk")
		}
		if _, err := l.Append(ctx, payload(acked+1), acked); !errors.Is(err, backbone.ErrFull) {
			return fmt.Errorf("second append to a full disk = %w; want ErrFull", err)
		}
		if err := check(ctx, l, acked); err != nil { // it is read while the disk is full
			return err
		}
		if err := d.clear(); err != nil {
			return fmt.Errorf("clear: %w", err)
		}
		if err := until("writable again", func() bool { return s.Writable(ctx) == nil }); err != nil {
			return fmt.Errorf("%w: %w", err, s.Writable(ctx))
		}
		if acked, err = appendUntil(ctx, l, acked, acked+20); err != nil {
			return fmt.Errorf("after the disk has space: %w", err)
		}
		if err := check(ctx, l, acked); err != nil {
			return err
		}
	}
	for want := uint64(1); want <= acked; {
		select {
		case seq := <-seen:
			if seq > want {
				return fmt.Errorf("the reader got %d; want %d", seq, want)
			}
			if seq == want {
				want++
			}
		case <-time.After(30 * time.Second):
			return fmt.Errorf("the reader never got %d of %d", want, acked)
		}
	}
	return nil
}

// payload is 64 KiB that begin with the text of seq.
func payload(seq uint64) []byte {
	return append([]byte(text(seq)), make([]byte, 64<<10)...)
}

// appendUntil appends until last is reached or an append fails, and returns the last acknowledged.
func appendUntil(ctx context.Context, l backbone.Log, from, last uint64) (uint64, error) {
	for from < last {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		seq, err := l.Append(ctx, payload(from+1), from)
		cancel()
		if err != nil {
			return from, err
		}
		from = seq
	}
	return from, nil
}

// check reads the log: it holds exactly what was acknowledged.
func check(ctx context.Context, l backbone.Log, acked uint64) error {
	var i backbone.LogInfo
	err := until("info of the log", func() (ok bool) {
		var err error
		i, err = l.Info(ctx)
		return err == nil
	})
	if err != nil {
		return err
	}
	if i.First != 1 || i.Last != acked {
		return fmt.Errorf("the log has %d to %d; want 1 to %d", i.First, i.Last, acked)
	}
	next := uint64(1)
	err = l.Read(ctx, 1, acked, func(m backbone.Message) error {
		if m.Seq != next || !strings.HasPrefix(string(m.Data), text(m.Seq)) {
			return fmt.Errorf("message %d with %.20q; want %d", m.Seq, m.Data, next)
		}
		next++
		return nil
	})
	if err == nil && next != acked+1 {
		err = fmt.Errorf("read ended before %d; want %d", next, acked)
	}
	return err
}
