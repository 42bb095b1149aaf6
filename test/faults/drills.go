package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// storedWithin bounds the wait until everything is stored and handed on.
const storedWithin = time.Minute

// drills are what an operator does, as docs/operations tells it. People are silent when they begin, so that everything can be stored.
func (w *world) drills() []fault {
	return []fault{
		{name: "lose NATS with all its disks; oceanchat recover", touches: everything, short: true, times: 1, quiet: true, run: w.loseNATS},
		{name: "change the number of partitions from 16 to 24", touches: everything, times: 1, quiet: true, run: w.changePartitions(24)},
		{name: "change it back, from 24 to 16", touches: everything, times: 1, quiet: true, run: w.changePartitions(16)},
	}
}

// recover runs "oceanchat recover" on the cluster.
func (w *world) recover(ctx context.Context, want int, word string, args ...string) error {
	code, out, err := w.Run(ctx, append([]string{"recover", "--cluster"}, args...)...)
	if err == nil && (code != want || !strings.Contains(out, word)) {
		err = fmt.Errorf("oceanchat recover %v = %d: %s", args, code, out)
	}
	return err
}

// silenced ends all instances of message and waits until what they have appended is stored and handed on.
func (w *world) silenced(ctx context.Context) error {
	for _, p := range w.Of("message") {
		if err := ended(p); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, storedWithin)
	defer cancel()
	for {
		err := w.recover(ctx, 0, "all of it is stored and handed on")
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// loseNATS takes all that NATS has, once it is stored, and goes by the runbook.
func (w *world) loseNATS(ctx context.Context, _ *runner) error {
	if err := w.silenced(ctx); err != nil {
		return err
	}
	if err := w.parts.EmptyNATS(); err != nil {
		return err
	}
	if err := again(ctx, w.parts.NATS...); err != nil {
		return err
	}
	if err := errors.Join(w.recover(ctx, 1, "the log is lost"), w.recover(ctx, 0, "done", "--apply")); err != nil {
		return err
	}
	if err := again(ctx, w.Of("message")...); err != nil {
		return err
	}
	for _, p := range w.Services.Processes() {
		if err := p.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// changePartitions changes log.partitions and starts every service anew.
func (w *world) changePartitions(n int) func(context.Context, *runner) error {
	return func(ctx context.Context, r *runner) error {
		if err := w.silenced(ctx); err != nil {
			return err
		}
		if err := w.recover(ctx, 0, fmt.Sprint("set log.partitions to ", n), "--partitions", fmt.Sprint(n), "--apply"); err != nil {
			return err
		}
		w.Set(fmt.Sprint("OCEANCHAT_LOG_PARTITIONS=", n))
		if err := again(ctx, w.Of("message")...); err != nil {
			return err
		}
		var others []*local.Process
		for _, p := range w.Services.Processes() {
			if p.Targets[0] != "message" {
				others = append(others, p)
			}
		}
		return restarted(others...)(ctx, r)
	}
}

// full fills the disks of NATS servers for a while. A server that could not write has stopped JetStream by itself: it is started anew.
func (w *world) full(d time.Duration, list ...*local.Process) func(context.Context, *runner) error {
	return func(ctx context.Context, _ *runner) error {
		for _, n := range list {
			if err := fill(filler(w.parts, n)); err != nil {
				return err
			}
		}
		err := sleep(ctx, d)
		for _, n := range list {
			err = errors.Join(err, os.Remove(filler(w.parts, n)))
		}
		if err != nil {
			return err
		}
		// Together: with all of them stopped there is nobody to wait for.
		var stopped []*local.Process
		for _, n := range list {
			if !w.recovered(ctx, n) {
				n.Kill()
				stopped = append(stopped, n)
			}
		}
		return again(ctx, stopped...)
	}
}

// recovered tells whether a server is ready again by itself, now that there is space.
func (w *world) recovered(ctx context.Context, n *local.Process) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return n.Ready(ctx) == nil
}

func filler(p *local.Parts, n *local.Process) string { return filepath.Join(p.Disk(n), "filler") }

// fill writes until there is no space.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, io.ErrShortWrite):
			size /= 2
		case err != nil:
			return err
		}
	}
	return nil
}
