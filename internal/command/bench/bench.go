// Package bench is the command "oceanchat bench": it measures a server from outside, over the public contract, and keeps
// the account of every message it sends.
//
// It owns the load, the account and the figures, and asks nothing of a server that another client could not ask; of a
// server that it started itself, and of a cluster that is described to it, it also reads /metrics and /proc. Two rules hold: the load is an open loop, so a latency
// counts from when a message was due and not from when there was time to send it; and the account must balance, or the
// command ends with a status that is not 0. Everything is bounded in time and count.
//
// Long connections are built and read by hand instead of with the Go SDK, whose client keeps outbox, entries and timers
// for each connection: docs/guide/bench.md has the measurement that decided so. Sessions are refreshed with the SDK.
package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/command"
)

// bench is one run of the command: what it was asked for and what it has prepared.
type bench struct {
	options
	version  string
	binary   string
	work     string // temporary; removed at the end
	seeded   string // a data directory with users and nothing else, of a server that has ended
	accounts *accounts
	cluster  *cluster // nil: none is measured
	progress *progress
	report   *report
	dirs     int
}

// Main runs the command.
func Main(ctx context.Context, call command.Call) int {
	o, err := parse(call.Args, call.Out)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return command.OK
	case err != nil:
		_, _ = fmt.Fprintf(call.Err, "oceanchat bench: %v\nRun 'oceanchat bench --help' for usage.\n", err)
		return command.Usage
	}
	b := &bench{options: o, version: call.Version, progress: newProgress(call.Err, o.progress)}
	err = b.run(ctx, call)
	b.progress.end()
	if err != nil {
		_, _ = fmt.Fprintf(call.Err, "oceanchat bench: %v\n", err)
		return command.Failed
	}
	return command.OK
}

// gcPercent trades the client's memory for its CPU: it shares the machine with what it measures.
const gcPercent = 400

func (b *bench) run(ctx context.Context, call command.Call) error {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	if err := checkFiles(b.connections()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, b.limit, fmt.Errorf("not done within --timeout %v", b.limit))
	defer cancel()
	if b.clusterFile != "" {
		var err error
		if b.cluster, err = readCluster(b.clusterFile); err != nil {
			return err
		}
		if err := b.cluster.look(); err != nil {
			return fmt.Errorf("%s describes a cluster that does not run like that any more: %w", b.clusterFile, err)
		}
	}
	work, err := os.MkdirTemp(b.dir, "oceanchat-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b.work = work
	b.report = &report{
		Version: call.Version, Taken: day(time.Now()), Command: commandLine(call.Args),
		Environment: b.environment(),
	}
	if b.cluster != nil {
		b.report.Cluster = b.cluster.measured()
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	b.report.fail("bench", b.measure(ctx)) // what was measured before counts
	b.progress.end()
	b.report.OK = len(b.report.Errors) == 0
	write := b.report.markdown
	if b.json {
		write = b.report.json
	}
	if err := write(call.Out); err != nil {
		return err
	}
	if !b.report.OK {
		return fmt.Errorf("%d failures, first: %s", len(b.report.Errors), b.report.Errors[0])
	}
	return nil
}

// commandLine is what a shell would take.
func commandLine(args []string) string {
	words := []string{"oceanchat", "bench"}
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\"'$*") {
			a = strconv.Quote(a)
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func (b *bench) environment() string {
	where := "server at " + b.addr
	switch {
	case b.cluster != nil:
		where = fmt.Sprintf("data on %s; %s", filesystem(b.cluster.dir), b.cluster)
	case b.own():
		where = fmt.Sprintf("data on %s; client and server on the same cores, loopback", filesystem(b.work))
	}
	return fmt.Sprintf("%d cores, %s, %s; %s; %s", runtime.NumCPU(), processor(), runtime.Version(), where, b.wire.protocol())
}

// measure takes one scenario after the other. One that fails does not stop the others; an end of ctx does.
func (b *bench) measure(ctx context.Context) error {
	for _, name := range b.scenarios {
		run := map[string]func(context.Context){
			"start": b.start, "pairs": b.pairs, "group": b.groupRows, "search": b.search, "overload": b.overload, "idle": b.idle, "storm": b.storm, "stay": b.stay, "history": b.history,
		}[name]
		run(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("ended while measuring %s: %w", name, context.Cause(ctx))
		}
	}
	if b.profile != "" {
		b.profileRun(ctx)
	}
	return ctx.Err()
}

// prepare makes the accounts, or reads them.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	if !b.own() {
		if b.accounts, err = readAccounts(b.accountsFile); err != nil {
			return err
		}
		return b.accounts.enough(b.users())
	}
	if b.binary, err = os.Executable(); err != nil {
		return fmt.Errorf("find the binary: %w", err)
	}
	b.progress.say("making %d users", b.users())
	b.seeded = filepath.Join(b.work, "seeded")
	file := filepath.Join(b.work, "accounts.jsonl")
	begun := time.Now()
	if err := seedDir(ctx, b.binary, b.seeded, file, b.users()); err != nil {
		return err
	}
	b.report.Seeding = &seeding{Users: b.users(), Took: time.Since(begun)}
	b.accounts, err = readAccounts(file)
	return err
}

// place is a server that is ready, and what may be known of it.
type place struct {
	doors
	server  *server  // nil for one that is not ours
	cluster *cluster // nil if it is none
}

// watched is the processes that serve, where they are our own or described, and this system tells what they take; else
// nil.
func (p place) watched() watch {
	switch {
	case runtime.GOOS != "linux":
		return nil
	case p.cluster != nil:
		return p.cluster.Processes
	case p.server != nil:
		return p.server.watch()
	}
	return nil
}

// at calls use with a server: a fresh one with users and nothing else, or the one that was named, with fresh sessions for
// the first accounts.
func (b *bench) at(ctx context.Context, sync string, accounts int, use func(ctx context.Context, p place) error) error {
	if !b.own() {
		there := place{doors: doorsOf(b.addr)}
		if b.cluster != nil {
			there = place{doors: b.cluster.doors(), cluster: b.cluster}
		}
		if err := b.accounts.refresh(ctx, there.doors, accounts, b.progress); err != nil {
			return err
		}
		return use(ctx, there)
	}
	dir, err := b.fresh(b.seeded)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return b.serve(ctx, dir, sync, use)
}

// serve runs a server of our own on dir around use.
func (b *bench) serve(ctx context.Context, dir, sync string, use func(ctx context.Context, p place) error) error {
	s, err := launch(ctx, b.binary, dir, append([]string{"--log-sync", sync}, b.server...)...)
	if err != nil {
		return err
	}
	defer s.kill()
	if err := use(ctx, place{doors: doorsOf(s.base), server: s}); err != nil {
		if ctx.Err() == nil {
			err = errors.Join(err, s.died())
		}
		return err
	}
	return s.stop()
}

// fresh returns a new data directory with a copy of what is in from; "" leaves it empty.
func (b *bench) fresh(from string) (string, error) {
	b.dirs++
	dir := filepath.Join(b.work, fmt.Sprintf("data%d", b.dirs))
	if from == "" {
		return dir, nil
	}
	return dir, copyDir(from, dir)
}
