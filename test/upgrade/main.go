// Command upgrade runs the last release and this version side by side while people talk, in a cluster and in one process:
// forward, back and forward again. It judges from what they saw whether anything that was acknowledged was lost, doubled or
// numbered anew, and whether a connection was lost that need not be (invariant 10).
//
// It ends with status 1 if anything is wrong, and with status 3 if the last release cannot be had and so nothing was
// checked. It runs on the loopback interface, starts everything itself and ends everything it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// flags are the command line.
type flags struct {
	dir, binary, base, mode string
	short, ifBase           bool
	clients                 int
	every                   time.Duration
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("upgrade", flag.ContinueOnError)
	set.StringVar(&f.dir, "dir", "", "where everything is kept; a temporary directory, deleted if all is right, if empty")
	set.StringVar(&f.binary, "binary", "", "the oceanchat binary of this version")
	set.StringVar(&f.base, "base", "", "the version to compare with, as git names it; the newest tag v… before HEAD, or the commit in test/upgrade/BASE, if empty")
	set.StringVar(&f.mode, "mode", "", "cluster: every service as two processes; all: one process; both if empty")
	set.BoolVar(&f.short, "short", false, "replace several processes at once, and end with half of them old")
	set.BoolVar(&f.ifBase, "if-base", false, "a clone without the last release is no failure")
	set.IntVar(&f.clients, "clients", 8, "how many people talk")
	set.DurationVar(&f.every, "every", 250*time.Millisecond, "between two messages of one")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	case f.mode != "" && f.mode != "cluster" && f.mode != "all":
		return f, fmt.Errorf("--mode %q: want cluster or all", f.mode)
	case f.clients < 2:
		return f, errors.New("--clients: want at least 2")
	case f.binary == "":
		return f, errors.New("--binary: want the binary of this version")
	}
	return f, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errNoBase):
		fmt.Fprintln(os.Stderr, "upgrade: NOT CHECKED:", err)
		os.Exit(3)
	default:
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	commit, name, err := findBase(ctx, f.base)
	if f.ifBase && errors.Is(err, errNoBase) {
		_, _ = fmt.Fprintln(out, "NOT CHECKED:", err)
		return nil
	}
	if err != nil {
		return err
	}
	dir := f.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "oceanchat-upgrade-"); err != nil {
			return err
		}
	}
	b, err := prepare(ctx, out, f, dir, commit, name)
	if err != nil {
		return err
	}
	for _, mode := range []string{"cluster", "all"} {
		if f.mode == "" || f.mode == mode {
			if err := b.walk(ctx, out, f, mode, filepath.Join(dir, mode)); err != nil {
				return fmt.Errorf("%s, in %s: %w", mode, dir, err)
			}
		}
	}
	if f.dir == "" {
		return os.RemoveAll(dir)
	}
	return nil
}

// version is one of the server, a binary; name is what it says that it is.
type version struct{ path, name string }

// versions are the two that are compared.
type versions struct{ old, fresh version }

// prepare builds the old one. The two must differ in their version, else nobody could tell which one runs.
func prepare(ctx context.Context, out io.Writer, f flags, dir, commit, name string) (b versions, err error) {
	b.old.name = "base-" + commit[:12]
	began := time.Now()
	if b.old.path, err = buildBase(ctx, dir, commit, b.old.name); err != nil {
		return b, err
	}
	if b.fresh.path, err = filepath.Abs(f.binary); err == nil {
		b.fresh.name, err = versionOf(ctx, b.fresh.path)
	}
	_, _ = fmt.Fprintf(out, "the last release is %s (%s), built in %s; this version is %s; directory %s\n",
		name, b.old.name, time.Since(began).Round(time.Second), b.fresh.name, dir)
	return b, err
}

// walk takes one server through all steps.
func (b versions) walk(ctx context.Context, out io.Writer, f flags, mode, dir string) (err error) {
	w, err := newWorld(ctx, b, f, mode, dir, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	_, _ = fmt.Fprint(out, head)
	for _, s := range w.steps(f.short) {
		if err := w.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
