// Command faults breaks a running OceanChat in one way after another while people talk over it, and judges from what they
// saw whether anything that was acknowledged was lost, doubled or numbered anew. Each fault is a row of the table that it
// prints. It ends with status 1 if anything is wrong.
//
// It runs on the loopback interface, starts everything itself and ends everything it started.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// flags are the command line.
type flags struct {
	dir, binary, out string
	mode             string
	only             string
	short            bool
	random           time.Duration
	seed             uint64
	clients          int
	every            time.Duration
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("faults", flag.ContinueOnError)
	set.StringVar(&f.dir, "dir", "", "where everything is kept; a temporary directory, deleted if all is right, if empty")
	set.StringVar(&f.binary, "binary", "", "the oceanchat binary; built if empty")
	set.StringVar(&f.out, "out", "", "a file for the table too")
	set.StringVar(&f.mode, "mode", "cluster", "cluster: every service as two processes; disk: the same on NATS servers with small disks; all: one process")
	set.StringVar(&f.only, "only", "", "a regular expression: only faults with such a name")
	set.BoolVar(&f.short, "short", false, "one of each kind, with shorter waits")
	set.DurationVar(&f.random, "random", 0, "for so long faults by chance, up to two at once, after the others")
	set.Uint64Var(&f.seed, "seed", 0, "what chance is made of; 0: the time")
	set.IntVar(&f.clients, "clients", 8, "how many people talk")
	set.DurationVar(&f.every, "every", 250*time.Millisecond, "between two messages of one")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	f.seed = cmp.Or(f.seed, uint64(time.Now().UnixNano()))
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	case f.mode != "cluster" && f.mode != "all" && f.mode != "disk":
		return f, fmt.Errorf("--mode %q: want cluster, disk or all", f.mode)
	case f.clients < 2:
		return f, errors.New("--clients: want at least 2")
	}
	_, err := regexp.Compile(f.only)
	return f, err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	f, err := parse(args)
	if err != nil {
		return err
	}
	dir := f.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "oceanchat-faults-"); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(out, "seed %d, directory %s\n", f.seed, dir)
	w, err := newWorld(ctx, f, dir, out)
	if err != nil {
		return err
	}
	r := &runner{w: w, out: out, short: f.short, rnd: rand.New(rand.NewPCG(f.seed, 0))}
	err = errors.Join(r.all(ctx, f), w.close())
	if f.out != "" {
		err = errors.Join(err, os.WriteFile(f.out, []byte(r.table()), 0o600))
	}
	if err == nil && f.dir == "" {
		err = os.RemoveAll(dir)
	}
	return err
}

// all runs the faults that are asked for, and then those at random.
func (r *runner) all(ctx context.Context, f flags) error {
	list := r.w.faults(f.short)
	only := regexp.MustCompile(f.only)
	list = slices.DeleteFunc(list, func(x fault) bool { return !only.MatchString(x.name) || f.short && !x.short })
	if len(list) == 0 {
		return fmt.Errorf("no fault is named like %q", f.only)
	}
	for _, x := range list {
		if x.prepare == nil {
			continue
		}
		if err := x.prepare(ctx); err != nil {
			return err
		}
	}
	for _, x := range list {
		if err := r.row(ctx, x, faultWithin); err != nil {
			return err
		}
	}
	if f.random == 0 {
		return nil
	}
	if f.short { // by chance comes what the short suite leaves out too, but for what takes long to prepare
		list = slices.DeleteFunc(r.w.faults(f.short), func(x fault) bool { return !only.MatchString(x.name) || x.prepare != nil })
	}
	return r.walk(ctx, list, f.random, f.seed)
}
