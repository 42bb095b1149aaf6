// Package lifecycle starts and stops the parts of a process in the order of what they need. It owns one goroutine per
// part, waits for each, and knows nothing about what a part does: no signal, no exit, no port.
//
// It keeps this: a part runs only while everything it needs is ready; it is told to stop only when everything that
// needs it has returned; all of the stopping happens under one deadline; and whatever went wrong is named in the one
// error at the end, the cause first.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// A Part is one thing that runs.
type Part struct {
	Name  string   // unique, for the log and for Needs
	Needs []string // names of the parts that must be ready before this one starts

	// Run works until ctx ends, then cleans up and returns nil (or the context's error). It calls ready when others may
	// rely on it; more calls do nothing. To return earlier, with or without an error, stops the whole graph. A panic in
	// Run counts as an error; one in a goroutine that Run started ends the process.
	Run func(ctx context.Context, ready func()) error
}

// Options tune Run. The zero value is usable.
type Options struct {
	// StopTimeout bounds everything from the end of the context, or the first failure, to the return of Run. Default 30 s.
	StopTimeout time.Duration
	// Notice is how long parts keep working after the context ended, so that load balancers see /readyz fail before
	// connections do. It is part of StopTimeout; a failure cuts it short. Default 0.
	Notice time.Duration
	// Ready is called once when all parts are ready, unless stopping comes first. It must not block.
	Ready func()
	// Status, if set, is told when all parts are ready and when stopping begins.
	Status *Status
}

const defaultStopTimeout = 30 * time.Second

// Run runs all parts until ctx ends or one of them returns, and then stops them. Parts that do not depend on each other
// start and stop in parallel. It returns nil when ctx ended and every part returned without an error; otherwise all
// errors joined, each with the name of its part. A part that has not returned by the deadline is named too and is
// left behind, and the parts below it are cancelled at once: the process should exit then. Unknown or doubled names and
// cycles are errors before anything starts.
func Run(ctx context.Context, log *slog.Logger, parts []Part, o Options) error {
	g, err := newGraph(log, parts)
	if err != nil {
		return err
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = defaultStopTimeout
	}
	if o.Status == nil {
		o.Status = new(Status)
	}
	g.start(ctx)
	if g.awaitReady(ctx) {
		o.Status.MarkStarted()
		if o.Ready != nil {
			o.Ready()
		}
	}
	select {
	case <-ctx.Done():
	case <-g.failed:
	}
	o.Status.MarkDraining()
	return g.stop(o)
}

// awaitReady reports whether all parts became ready before ctx ended or a part failed.
func (g *graph) awaitReady(ctx context.Context) bool {
	for _, n := range g.nodes {
		select {
		case <-n.ready:
		case <-ctx.Done():
			return false
		case <-g.failed:
			return false
		}
	}
	return true
}

// stop lets Notice pass, then stops everything, and returns what the whole run has to report.
func (g *graph) stop(o Options) error {
	deadline := time.NewTimer(o.StopTimeout)
	defer deadline.Stop()
	if o.Notice > 0 {
		select {
		case <-time.After(min(o.Notice, o.StopTimeout)):
		case <-g.failed:
		}
	}
	close(g.stopping)
	for _, n := range g.nodes {
		select {
		case <-n.gone:
		case <-deadline.C:
			return errors.Join(g.result(), g.abandon(o.StopTimeout))
		}
	}
	return g.result()
}

// abandon cancels everything that still runs and returns an error that names the parts all others wait for.
func (g *graph) abandon(after time.Duration) error {
	var stuck []string
	for _, n := range g.nodes {
		if !isClosed(n.done) && n.isFree() {
			stuck = append(stuck, n.part.Name)
		}
	}
	for _, n := range g.nodes {
		n.cancel()
	}
	if stuck == nil {
		return nil // the last one returned at the very deadline
	}
	return fmt.Errorf("not stopped within %s: %s", after, strings.Join(stuck, ", "))
}
