// Command power cuts the power of a running OceanChat again and again while people talk over it: its data directory lies on
// a disk that forgets what was not synced, or in a cluster the files of each NATS server on one of its own. After each cut it
// starts OceanChat on what is left, and judges from what people saw whether anything that was acknowledged is lost, doubled or
// numbered anew. It ends with status 1 if anything is wrong.
//
// It needs Linux, root and /dev/fuse, and ends with status 3 where they are missing; with OCEANCHAT_CI=1 that is a failure
// as any other. It starts everything itself and ends everything it started.
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
	"syscall"
	"time"

	"github.com/oceanchat/oceanchat/test/power/disk"
)

// flags are the command line.
type flags struct {
	dir, binary  string
	mode, only   string
	cuts, starts int
	seed         uint64
	sync         string
	names        disk.Names
	keep         string
	short        bool
	clients      int
	every        time.Duration
}

func parse(args []string) (flags, error) {
	var f flags
	var names string
	set := flag.NewFlagSet("power", flag.ContinueOnError)
	set.StringVar(&f.dir, "dir", "", "where everything is kept; a temporary directory, deleted if all is right, if empty")
	set.StringVar(&f.binary, "binary", "", "the oceanchat binary; built if empty")
	set.StringVar(&f.mode, "mode", "all", "all: one process; cluster: three NATS servers with a disk each, and services beside them")
	set.StringVar(&f.only, "only", "", "with cluster, a regular expression: only cuts with such a name")
	set.IntVar(&f.cuts, "cuts", 30, "how often the power is cut while people talk; with cluster, of each kind of cut")
	set.IntVar(&f.starts, "starts", 15, "how often it is cut during the very first start")
	set.Uint64Var(&f.seed, "seed", 0, "what chance is made of; 0: the time")
	set.StringVar(&f.sync, "sync", "always", "log.sync: always, interval")
	set.StringVar(&names, "names", "journal", "when names are durable: journal, as with ext4 and XFS; strict, only when their directory was synced")
	set.StringVar(&f.keep, "keep", "any", "what is kept of what was not synced: none; some, by chance; any of the two, by chance at each cut")
	set.BoolVar(&f.short, "short", false, "under a minute: few cuts of each kind, both settings of log.sync; with cluster only all three NATS servers, once")
	set.IntVar(&f.clients, "clients", 6, "how many people talk")
	set.DurationVar(&f.every, "every", 100*time.Millisecond, "between two messages of one")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	f.seed = cmp.Or(f.seed, uint64(time.Now().UnixNano()))
	if f.short {
		f.cuts, f.starts = min(f.cuts, 4), min(f.starts, 3)
		if f.mode == "cluster" {
			f.cuts = 1
		}
	}
	_, err := regexp.Compile(f.only)
	if err != nil {
		return f, err
	}
	f.names, err = disk.CheckNames(names)
	switch {
	case err != nil:
	case set.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	case f.mode != "all" && f.mode != "cluster":
		err = fmt.Errorf("--mode %q: want all or cluster", f.mode)
	case f.sync != "always" && f.sync != "interval":
		err = fmt.Errorf("--sync %q: want always or interval", f.sync)
	case f.keep != "none" && f.keep != "some" && f.keep != "any":
		err = fmt.Errorf("--keep %q: want none, some or any", f.keep)
	case f.clients < 2:
		err = errors.New("--clients: want at least 2")
	}
	return f, err
}

// noFUSE is the status where nothing can be mounted.
const noFUSE = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "power:", err)
	if errors.Is(err, disk.ErrNoFUSE) && os.Getenv("OCEANCHAT_CI") == "" {
		os.Exit(noFUSE)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	f, err := parse(args)
	if err != nil {
		return err
	}
	if err := disk.Usable(); err != nil {
		return err
	}
	dir := f.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "oceanchat-power-"); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(out, "seed %d, directory %s\n", f.seed, dir)
	settings := []string{f.sync}
	if f.short && f.mode == "all" {
		settings = []string{"always", "interval"}
	}
	_, _ = fmt.Fprint(out, head)
	for _, sync := range settings {
		f.sync = sync
		w := &walk{f: f, dir: dir, out: out, rnd: rand.New(rand.NewPCG(f.seed, 0))}
		if f.mode == "cluster" {
			err = errors.Join(err, w.clusterTalk(ctx))
		} else {
			err = errors.Join(err, w.firstStarts(ctx), w.talk(ctx))
		}
	}
	if err == nil && f.dir == "" {
		err = os.RemoveAll(dir)
	}
	return err
}
