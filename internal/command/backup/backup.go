// Package backup is the command "oceanchat backup": it copies what one process keeps, while it runs. What is copied is the database. The log
// is not: it bridges the moments until its entries are stored, and a server that finds none begins a new one (docs/log.md, L7).
package backup

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/oceanchat/oceanchat/internal/command"
)

// Copy copies the database of the data directory that the settings name into a new file, and returns its size in bytes.
type Copy func(ctx context.Context, settings, env []string, to string) (int64, error)

const usage = `Usage: oceanchat backup --to FILE [--data-dir DIR] [-- settings of the server]

Copies the database of one process, whose server may run. To put it back, make an empty data directory and copy the file there as
oceanchat.db. In a cluster, back up MongoDB with its own tools.

`

// Command returns the command, over a way to copy.
func Command(copyTo Copy) func(context.Context, command.Call) int {
	return func(ctx context.Context, call command.Call) int {
		var to, dir string
		f := flag.NewFlagSet("backup", flag.ContinueOnError)
		f.SetOutput(io.Discard)
		f.StringVar(&to, "to", "", "`file` to write; must not exist")
		f.StringVar(&dir, "data-dir", "", "the data `directory` (default: what the settings say)")
		err := f.Parse(call.Args)
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprint(call.Out, usage)
			f.SetOutput(call.Out)
			f.PrintDefaults()
			return command.OK
		}
		if err == nil && to == "" {
			err = errors.New("--to: want a file to write")
		}
		if err != nil {
			_, _ = fmt.Fprintf(call.Err, "oceanchat backup: %v\nRun 'oceanchat backup --help' for usage.\n", err)
			return command.Usage
		}
		settings := f.Args()
		if dir != "" {
			settings = append([]string{"--data-dir=" + dir}, settings...)
		}
		began := time.Now()
		size, err := copyTo(ctx, settings, call.Env, to)
		if err != nil {
			_, _ = fmt.Fprintf(call.Err, "oceanchat backup: %v\n", err)
			return command.Failed
		}
		_, _ = fmt.Fprintf(call.Out, "%s: %d bytes in %s; it holds everything that was stored at %s\n",
			to, size, time.Since(began).Round(time.Millisecond), began.UTC().Format(time.RFC3339Nano))
		return command.OK
	}
}
