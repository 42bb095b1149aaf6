package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBoom = errors.New("boom")

// A diary remembers what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// part returns a Part that takes a second to become ready and a second to stop, and writes both down.
func (d *diary) part(name string, needs ...string) lifecycle.Part {
	return lifecycle.Part{Name: name, Needs: needs, Run: func(ctx context.Context, ready func()) error {
		time.Sleep(time.Second)
		d.add("+" + name)
		ready()
		ready() // harmless
		<-ctx.Done()
		time.Sleep(time.Second)
		d.add("-" + name)
		return ctx.Err()
	}}
}

// run runs parts in a bubble until, after d, the context ends, and returns how long stopping took, and the error.
func run(t *testing.T, d time.Duration, o lifecycle.Options, parts ...lifecycle.Part) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	err = lifecycle.Run(ctx, slog.New(slog.DiscardHandler), parts, o)
	return time.Since(start) - d, err
}

func TestRunOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var ready []time.Duration
		start := time.Now()
		o := lifecycle.Options{Ready: func() { ready = append(ready, time.Since(start)) }}
		took, err := run(t, time.Minute, o,
			d.part("gateway", "router"), d.part("router", "store", "backbone"), d.part("store"), d.part("backbone"),
		)
		if err != nil {
			t.Fatalf("Run = %v; want nil", err)
		}
		// Parallel parts have no order among each other.
		lines := d.read()
		if len(lines) != 8 {
			t.Fatalf("happened: %q; want eight lines", lines)
		}
		for _, pair := range [][]string{lines[0:2], lines[6:8]} {
			slices.Sort(pair)
		}
		want := []string{"+backbone", "+store", "+router", "+gateway", "-gateway", "-router", "-backbone", "-store"}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("order: -want +got\n%s", diff)
		}
		if diff := cmp.Diff([]time.Duration{3 * time.Second}, ready); diff != "" {
			t.Errorf("Ready was called: -want +got\n%s", diff)
		}
		if took != 3*time.Second {
			t.Errorf("stopping took %s; want 3s: three levels of one second", took)
		}
	})
}

func TestRunWithoutParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if took, err := run(t, time.Second, lifecycle.Options{}); err != nil || took != 0 {
			t.Errorf("Run() = %v after %s; want nil at once when the context ends", err, took)
		}
	})
}

func TestRunFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		part func(ctx context.Context, ready func()) error
		want string
	}{
		{"an error before ready", func(context.Context, func()) error { return errBoom }, "part bad: boom"},
		{"an error later", func(_ context.Context, ready func()) error {
			ready()
			time.Sleep(10 * time.Second)
			return errBoom
		}, "part bad: boom"},
		{"nothing, but too early", func(_ context.Context, ready func()) error {
			ready()
			return nil
		}, "part bad: returned without being told to stop"},
		{"its context's error, but too early", func(context.Context, func()) error {
			return context.Canceled
		}, "part bad: context canceled"},
		{"a panic", func(context.Context, func()) error { panic("boom") }, "part bad: panic: boom"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var d diary
				took, err := run(t, time.Hour, lifecycle.Options{Notice: time.Minute},
					d.part("below"), lifecycle.Part{Name: "bad", Needs: []string{"below"}, Run: tt.part}, d.part("above", "bad"))
				if err == nil || err.Error() != tt.want {
					t.Errorf("Run = %v; want %s", err, tt.want)
				}
				if took > -time.Hour+15*time.Second {
					t.Errorf("Run returned %s after the context's end; want it to stop at once on failure", took)
				}
				if lines := d.read(); len(lines) == 0 || lines[len(lines)-1] != "-below" {
					t.Errorf("happened: %q; want below to be the last to stop", lines)
				}
			})
		})
	}
}

func TestRunJoinsErrorsCauseFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cleanup := func(ctx context.Context, ready func()) error {
			ready()
			<-ctx.Done()
			return errors.New("flush: disk full")
		}
		_, err := run(t, time.Hour, lifecycle.Options{},
			lifecycle.Part{Name: "store", Run: cleanup},
			lifecycle.Part{Name: "router", Needs: []string{"store"}, Run: func(context.Context, func()) error { return errBoom }},
		)
		want := "part router: boom\npart store: flush: disk full"
		if err == nil || err.Error() != want || !errors.Is(err, errBoom) {
			t.Errorf("Run = %v; want %s", err, want)
		}
	})
}

func TestRunNamesWhatDoesNotStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		release := make(chan struct{})
		stuck := lifecycle.Part{Name: "stuck", Needs: []string{"below"}, Run: func(_ context.Context, ready func()) error {
			ready()
			<-release
			return nil
		}}
		took, err := run(t, time.Minute, lifecycle.Options{StopTimeout: 5 * time.Second, Notice: 2 * time.Second},
			d.part("below"), stuck, d.part("above", "stuck"))
		if want := "not stopped within 5s: stuck"; err == nil || err.Error() != want {
			t.Errorf("Run = %v; want %s", err, want)
		}
		if took != 5*time.Second {
			t.Errorf("stopping took %s; want 5s, the notice included", took)
		}
		close(release)
		time.Sleep(time.Minute) // synctest.Test fails if anything is left after this
	})
}

func TestRunStopsWhileStarting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		slow := lifecycle.Part{Name: "slow", Run: func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			return nil
		}}
		o := lifecycle.Options{Ready: func() { d.add("ready") }}
		took, err := run(t, time.Minute, o, slow, d.part("above", "slow"))
		if err != nil || took != 0 {
			t.Errorf("Run = %v after %s; want nil at once", err, took)
		}
		if lines := d.read(); len(lines) != 0 {
			t.Errorf("happened: %q; want nothing", lines)
		}
	})
}

func TestRunMovesStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var s lifecycle.Status
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- lifecycle.Run(ctx, slog.New(slog.DiscardHandler), []lifecycle.Part{d.part("a")},
				lifecycle.Options{Status: &s, Notice: 10 * time.Second})
		}()
		expect := func(when string, want error) {
			t.Helper()
			synctest.Wait()
			if got := s.Ready(ctx); !errors.Is(got, want) {
				t.Errorf("%s: Ready = %v; want %v", when, got, want)
			}
		}
		expect("before the part is ready", lifecycle.ErrStarting)
		time.Sleep(2 * time.Second)
		expect("then", nil)
		cancel()
		time.Sleep(5 * time.Second)
		expect("within the notice", lifecycle.ErrDraining)
		if diff := cmp.Diff([]string{"+a"}, d.read()); diff != "" {
			t.Errorf("within the notice: -want +got\n%s", diff)
		}
		if err := <-done; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
}

func TestRunLogsTheStackOfAPanic(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := lifecycle.Run(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), []lifecycle.Part{
		{Name: "bad", Run: func(context.Context, func()) error { panic("boom") }},
	}, lifecycle.Options{})
	if err == nil {
		t.Error("Run = nil; want the panic")
	}
	for _, want := range []string{"part=bad", "panic=boom", "lifecycle_test.go"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log = %s; want %s in it", out.String(), want)
		}
	}
}

func TestRunRefusesBadGraphs(t *testing.T) {
	t.Parallel()
	started := func(context.Context, func()) error {
		t.Error("a part was started")
		return nil
	}
	part := func(name string, needs ...string) lifecycle.Part {
		return lifecycle.Part{Name: name, Needs: needs, Run: started}
	}
	tests := []struct {
		name  string
		parts []lifecycle.Part
		want  string
	}{
		{"cycle", []lifecycle.Part{part("x", "a"), part("a", "b"), part("b", "a")}, "parts need each other: x -> a -> b -> a"},
		{"itself", []lifecycle.Part{part("a", "a")}, "parts need each other: a -> a"},
		{"unknown", []lifecycle.Part{part("a", "b")}, "part a needs b, which does not exist"},
		{"twice", []lifecycle.Part{part("a"), part("a")}, "part a: the name is there twice"},
		{"no name", []lifecycle.Part{part("")}, `part "": want a name and a Run`},
		{"no Run", []lifecycle.Part{{Name: "a"}}, `part "a": want a name and a Run`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := lifecycle.Run(t.Context(), slog.New(slog.DiscardHandler), tt.parts, lifecycle.Options{})
			if err == nil || err.Error() != tt.want {
				t.Errorf("Run = %v; want %s", err, tt.want)
			}
		})
	}
}

func TestStatusReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s lifecycle.Status
		s.MarkStarted()
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("Ready without checks = %v; want nil", err)
		}
		s.Add("fine", func(context.Context) error { return nil })
		s.Add("store", func(context.Context) error { return errBoom })
		s.Add("slow", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		s.Add("quick", func(ctx context.Context) error { return ctx.Err() })
		s.Add("broken", func(context.Context) error { panic("ouch") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Ready(ctx)
		want := "store: boom\nslow: context deadline exceeded\nbroken: panic: ouch"
		if err == nil || err.Error() != want || !errors.Is(err, errBoom) {
			t.Errorf("Ready = %v; want %s", err, want)
		}
		s.MarkDraining()
		if err := s.Ready(ctx); !errors.Is(err, lifecycle.ErrDraining) || !s.Draining() {
			t.Errorf("Ready while draining = %v, Draining = %t; want ErrDraining, true", err, s.Draining())
		}
	})
}
