// Package dev is the command "oceanchat dev": what developers and load tests need of a data directory or a cluster. Its
// one verb so far is seed, which makes users, friends and groups in a directory whose server is stopped, or in a cluster
// that runs.
//
// It goes through the services and never to a database, so what it makes is what the services would have made: events,
// inbox entries and notices are there, and the log is contiguous. It keeps no secret but those it writes into the file
// that it was asked for.
package dev

import (
	"context"
	"fmt"
	"log/slog"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// User is an account to be made, with one session from one device.
type User struct {
	Username, DeviceID string
	Platform           authv1.Platform
}

// Services is what seeding needs of the services, which run in this process and behind no door.
type Services struct {
	Network calls.Network
	// Accounts makes users that share a password; the answers stand in the order of users.
	Accounts func(ctx context.Context, password string, users []User) ([]*authv1.TokenResponse, error)
	// Settle waits until all that was made is stored and told, so that the next start finds nothing to do.
	Settle func(ctx context.Context) error
	// Where says in words where all is made: the data directory, or the cluster.
	Where string
}

// Data says where to seed: in the data directory, or in the cluster, that the settings name.
type Data struct {
	Cluster  bool
	Settings []string // flags as the server takes them
	Env      []string
}

// Open runs the services on d, calls use, and stops them. It fails at once when another process has the data directory.
// In a cluster it runs no more than must be in this process, disturbs no other instance, and waits for servers that
// cannot be reached until ctx ends; it fails when the cluster's own services do not run.
type Open func(ctx context.Context, d Data, log *slog.Logger, use func(context.Context, Services) error) error

const usage = `Usage:
  oceanchat dev seed --users N --out FILE [flags] [-- settings of the server]
  oceanchat dev seed --cluster --users N --out FILE [flags] [-- settings of the services]

'oceanchat dev seed --help' tells its flags.
`

// Command returns the command, over a way to open a data directory or a cluster.
func Command(open Open) func(context.Context, command.Call) int {
	return func(ctx context.Context, call command.Call) int {
		if len(call.Args) == 0 {
			_, _ = fmt.Fprint(call.Err, usage)
			return command.Usage
		}
		switch call.Args[0] {
		case "seed":
			call.Args = call.Args[1:]
			return seed(ctx, call, open)
		case "help", "--help", "-h":
			_, _ = fmt.Fprint(call.Out, usage)
			return command.OK
		}
		_, _ = fmt.Fprintf(call.Err, "oceanchat dev: unknown verb %q\n%s", call.Args[0], usage)
		return command.Usage
	}
}
