// Command load measures the built binary from outside and prints the tables of docs/performance.md. It builds the
// binary, starts it on temporary directories and free loopback ports, speaks the public contract with it and ends it.
//
//	go run ./test/load [flags] [-- flags of the server]
//
// It keeps the account of every message: if sent, acknowledged, received and what the log holds do not balance, it says
// so and ends with status 1. It never starts a goroutine per message, ends by itself, and touches no process but its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options is what the command line asks for.
type options struct {
	rows     []string
	syncs    []string
	rates    []int // beside the fixed ones
	duration time.Duration
	warmup   time.Duration
	settle   time.Duration
	limit    time.Duration
	pairs    int
	idle     int
	dir      string
	profile  string
	json     bool
	server   []string // more flags for the servers that are measured
}

// The rows that can be chosen, in the order in which they run.
var allRows = []string{"start", "pairs", "idle", "history"}

// fixedRates are measured by the row pairs.
var fixedRates = []int{100, 1000}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2) //nolint:forbidigo // this is a main
	default:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// errUsage says that the command line is wrong, which was told already.
var errUsage = errors.New("wrong usage")

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var rows, syncs, rates string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&rows, "rows", strings.Join(allRows, ","), "rows to measure; \"\" for none but --rates and --profile")
	f.StringVar(&syncs, "sync", "always,interval", "values of log.sync for the message rows")
	f.StringVar(&rates, "rates", "", "further messages a second, such as 2000,5000,10000")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long each message row is measured")
	f.DurationVar(&o.warmup, "warmup", 2*time.Second, "how long each message row runs before")
	f.DurationVar(&o.settle, "settle", 35*time.Second, "how long idle connections settle; a heartbeat is 30 s")
	f.DurationVar(&o.limit, "timeout", 20*time.Minute, "when to give up")
	f.IntVar(&o.pairs, "pairs", 50, "pairs of users that write to each other")
	f.IntVar(&o.idle, "idle", 2000, "idle connections")
	f.StringVar(&o.dir, "dir", "", "where to keep data while measuring: the disk that is measured (default: the system's temporary directory)")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of one more run of 1,000 messages a second into this file")
	f.BoolVar(&o.json, "json", false, "print JSON instead of Markdown")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	o.rows, o.syncs, o.server = list(rows), list(syncs), f.Args()
	for _, r := range list(rates) {
		n, err := strconv.Atoi(r)
		if err != nil {
			n = 0 // check speaks of it
		}
		o.rates = append(o.rates, n)
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(stderr, err)
		return o, errUsage
	}
	return o, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func (o *options) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, r := range o.rows {
		want(slices.Contains(allRows, r), "--rows: %q is none of %s", r, strings.Join(allRows, ", "))
	}
	for _, s := range o.syncs {
		want(s == "always" || s == "interval", "--sync: %q is neither always nor interval", s)
	}
	for _, r := range o.rates {
		want(r >= 1 && r <= 100_000, "--rates: want numbers from 1 to 100000")
	}
	want(o.pairs >= 1 && o.pairs <= 5000, "--pairs %d: want 1 to 5000", o.pairs)
	want(o.idle >= 1 && o.idle <= 100_000, "--idle %d: want 1 to 100000", o.idle)
	want(o.duration >= time.Second && o.duration <= 10*time.Minute, "--duration %v: want 1s to 10m", o.duration)
	want(o.warmup >= 0 && o.warmup <= time.Minute, "--warmup %v: want 0s to 1m", o.warmup)
	want(o.settle >= time.Second && o.settle <= 10*time.Minute, "--settle %v: want 1s to 10m", o.settle)
	if slices.Contains(o.rows, "history") {
		want(o.pairs*50 <= int(fillTime.Seconds())*fillRate, "--pairs %d: history needs 50 messages for each, at most %d pairs",
			o.pairs, int(fillTime.Seconds())*fillRate/50)
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	debug.SetGCPercent(400) // the client shares the machine with what it measures
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	work, err := os.MkdirTemp(o.dir, "oceanchat-load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b := &bench{opt: o, log: slog.New(slog.NewTextHandler(stderr, nil)), work: work, binary: filepath.Join(work, "oceanchat")}
	r := &report{
		Taken: day(time.Now()), Command: strings.Join(append([]string{"go run ./test/load"}, args...), " "),
		Environment: fmt.Sprintf("%d cores, %s, %s; data on %s; client and server on the same cores, loopback.",
			runtime.NumCPU(), processor(), runtime.Version(), filesystem(work)),
	}
	if err := b.measure(ctx, r); err != nil {
		return err
	}
	write := r.markdown
	if o.json {
		write = r.json
	}
	if err := write(stdout); err != nil {
		return err
	}
	if len(r.Errors) > 0 {
		return fmt.Errorf("%d rows failed", len(r.Errors))
	}
	return nil
}

// measure prepares what the rows need and takes them one after the other. A row that fails does not stop the others.
func (b *bench) measure(ctx context.Context, r *report) error {
	o := b.opt
	has := func(row string) bool { return slices.Contains(o.rows, row) }
	if err := b.prepare(ctx, r, has("start"), has("idle")); err != nil {
		return err
	}
	if has("start") {
		b.log.InfoContext(ctx, "measuring", "row", "start")
		row := b.start(ctx)
		r.Start = &row
		r.fail("start", row.Error)
	}
	rates := o.rates
	if has("pairs") {
		rates = append(slices.Clone(fixedRates), o.rates...)
	}
	for _, sync := range o.syncs {
		for _, rate := range rates {
			b.log.InfoContext(ctx, "measuring", "row", "pairs", "rate", rate, "sync", sync)
			row := b.pairs(ctx, rate, sync)
			r.Pairs = append(r.Pairs, row)
			r.fail(fmt.Sprintf("%d/s, %s", rate, sync), row.Error)
		}
	}
	if o.profile != "" {
		b.log.InfoContext(ctx, "measuring", "row", "profile")
		if err := b.profile(ctx); err != nil {
			r.fail("profile", err.Error())
		}
	}
	if has("idle") {
		b.log.InfoContext(ctx, "measuring", "row", "idle")
		row := b.idle(ctx)
		r.Idle = &row
		r.fail("idle", row.Error)
	}
	if has("history") {
		b.log.InfoContext(ctx, "measuring", "row", "history")
		row := b.history(ctx)
		r.History = &row
		r.fail("history", row.Error)
	}
	return ctx.Err()
}

// prepare builds the binary and makes the users.
func (b *bench) prepare(ctx context.Context, r *report, sizes, idle bool) error {
	b.log.InfoContext(ctx, "building")
	size, err := build(ctx, b.binary, false)
	if err != nil {
		return err
	}
	if sizes {
		r.Size = size
		if r.Stripped, err = build(ctx, b.binary+"-stripped", true); err != nil {
			return err
		}
	}
	devices := 0
	if idle {
		devices = b.opt.idle
	}
	b.seeded = filepath.Join(b.work, "seeded")
	b.log.InfoContext(ctx, "making users")
	accounts, made, err := seed(ctx, b.binary, b.seeded, b.opt.pairs, devices)
	if err != nil {
		return err
	}
	b.accounts, r.Seeding = accounts, &made
	return nil
}
