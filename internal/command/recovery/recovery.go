// Package recovery is the command "oceanchat recover": it brings the log and the database together again after one of them was lost or
// put back from a back-up, and changes the number of partitions. It only looks, unless it is told to act.
//
// It runs while nobody appends, and keeps the log's invariants: numbers never go back, nothing that was acknowledged and still exists is
// removed, and clients learn of a loss by a new epoch. It can be ended at any moment and run again. docs/log.md, L7, is the argument.
package recovery

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Data is the log and the database.
type Data struct {
	Backbone interface {
		backbone.Backbone
		backbone.Keeper
	}
	Log store.Log
	// Partitions is how many the settings say.
	Partitions int
	// Readers have read a message before it may go, beside the writer.
	Readers []string
	// Note keeps the number of partitions where a start compares the settings with it.
	Note func(partitions int) error
}

// Place says where the data are: in the data directory, or in the cluster, that the settings name.
type Place struct {
	Cluster  bool
	Settings []string // flags as the server takes them
	Env      []string
}

// Open makes sure that nobody appends, opens the data and calls use. With settle everything is stored and handed on before.
type Open func(ctx context.Context, p Place, settle bool, log *slog.Logger, use func(context.Context, Data) error) error

const usage = `Usage: oceanchat recover [--cluster] [--partitions N] [--accept-loss] [--apply] [-- settings of the server]

Compares the log with the database, partition by partition, and says what is wrong and what would be done about it. Stop the server first;
in a cluster stop all instances of message, and leave persistence and orchestrator running.

`

// options is what the command line asks for.
type options struct {
	place      Place
	partitions int
	acceptLoss bool
	apply      bool
	wait       time.Duration
}

func parse(args []string, help io.Writer) (options, error) {
	var o options
	var dir string
	f := flag.NewFlagSet("recover", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&dir, "data-dir", "", "the data `directory`; its server must be stopped (default: what the settings say)")
	f.BoolVar(&o.place.Cluster, "cluster", false, "the log and the database of the cluster that the settings name")
	f.IntVar(&o.partitions, "partitions", 0, "change the `number` of partitions; set log.partitions to it afterwards")
	f.BoolVar(&o.acceptLoss, "accept-loss", false, "go on where batches or entries are in neither of them: numbers that are seen to be missing stay empty, others may be given again")
	f.BoolVar(&o.apply, "apply", false, "do it")
	f.DurationVar(&o.wait, "wait", time.Minute, "how long others may take to store and to hand on what the log holds, before the number of partitions is changed")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprint(help, usage)
		f.SetOutput(help)
		f.PrintDefaults()
		return o, err
	}
	o.place.Settings = f.Args()
	if dir != "" {
		o.place.Settings = append([]string{"--data-dir=" + dir}, o.place.Settings...)
	}
	switch {
	case err != nil:
		return o, err
	case o.place.Cluster && dir != "":
		return o, errors.New("--data-dir: a cluster has none")
	case o.partitions < 0 || o.partitions > maxPartitions:
		return o, fmt.Errorf("--partitions %d: want 1 to %d", o.partitions, maxPartitions)
	}
	return o, nil
}

// maxPartitions is what log.partitions may be.
const maxPartitions = 256

// Command returns the command, over a way to open the data.
func Command(open Open) func(context.Context, command.Call) int {
	return func(ctx context.Context, call command.Call) int {
		o, err := parse(call.Args, call.Out)
		if errors.Is(err, flag.ErrHelp) {
			return command.OK
		}
		if err != nil {
			_, _ = fmt.Fprintf(call.Err, "oceanchat recover: %v\nRun 'oceanchat recover --help' for usage.\n", err)
			return command.Usage
		}
		o.place.Env = call.Env
		log := obs.NewLogger(call.Err, "text", slog.LevelWarn)
		err = open(ctx, o.place, o.partitions > 0 && o.apply, log, func(ctx context.Context, d Data) error {
			return (&run{Data: d, options: o, out: call.Out}).all(ctx)
		})
		if err != nil {
			_, _ = fmt.Fprintf(call.Err, "oceanchat recover: %v\n", err)
			return command.Failed
		}
		return command.OK
	}
}
