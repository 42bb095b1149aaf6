// Package local starts, watches and stops a whole OceanChat cluster of real processes on the loopback interface: for
// developers (make cluster), for system tests and for tests that kill, stop and restart single processes by name.
//
// Parts are what the services share: NATS with JetStream, Redis and the stand-in for MongoDB. Services are the targets of
// the binary, each as a process of its own or several together, with a front before them that does what a load balancer
// does in production. Several Services may run on the same Parts, one after another or at once: each is a tenant, with a
// NATS account, a Redis prefix and a database of its own.
//
// It keeps these promises: what it started ends with Stop, also if a start fails half-way, and on Linux also if this
// process dies; every process keeps its addresses, its files and its log over restarts. It is no way to run OceanChat in
// production: one machine, one Redis, and a stand-in for MongoDB that keeps everything in memory and loses it when it
// ends.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Options say what a cluster is made of. The zero value of each is a sensible one; only Dir must be set.
type Options struct {
	Dir    string // where everything is kept: binaries, data, logs, configurations; made if it is missing
	Binary string // of oceanchat; built from this module if empty
	Log    io.Writer

	Servers int    // of NATS, 1 or 3 (default)
	Sync    string // "always" (default): NATS writes through to the disk; "interval": every two minutes
	Tenants int    // how many Services may run at once at most, 100 by default
	Mongo   string // URI of a MongoDB to use in place of the stand-in, without a database's name

	// Keep keeps the data when Services stop, and finds those of the last time when Parts start. It is for a MongoDB of
	// yours: the stand-in forgets, and a log without its database is of no use.
	Keep bool
	// FirstPort is where the ports begin, which are then the same at each start; 0: ports that are free.
	FirstPort int
	// NATSConfig, if set, is included by each server's configuration in place of the accounts that are generated. Users
	// of it are named by settings of the services.
	NATSConfig string
	// NATSDisk, as "256m", gives each NATS server a disk of that size in memory; "": this machine's. It needs user namespaces.
	NATSDisk string
	// NATSStores is the folder with the files of the NATS servers, a folder in it for each, by its name; Dir if empty. What is
	// in a folder that is named stays: the caller may have mounted something there.
	NATSStores string
	// Route, if set, may put another address in the place of that at which one NATS server, counted from 0, reaches another.
	Route func(from, to int, addr string) (string, error)
}

// ServiceOptions say which services run on Parts, and how.
type ServiceOptions struct {
	Replicas  int            // of streams, 1 or 3; by default as many as there are NATS servers
	Groups    [][]string     // the targets of each process; each by itself if nil
	Instances map[string]int // of a group, by its first target; 2 where it is not named

	Env    []string            // settings of all processes, OCEANCHAT_NAME=value; they win over those made here
	EnvOf  map[string][]string // and those of a group besides, by its first target, or of one process, by its name
	Args   []string            // flags of all processes
	HTTP   string              // address of the front for REST and WebSocket; a free one if empty
	TCP    string              // address of the front for TCP connections; a free one if empty
	Direct bool                // no front: URL and TCP are those of the first process that serves them
}

// Cluster is Parts with one set of Services.
type Cluster struct {
	*Services
	Parts *Parts
}

// Start starts a cluster and returns when every process is ready. ctx bounds the start only.
func Start(ctx context.Context, o Options, so ServiceOptions) (*Cluster, error) {
	parts, err := StartParts(ctx, o)
	if err != nil {
		return nil, err
	}
	services, err := parts.Start(ctx, so)
	if err != nil {
		return nil, errors.Join(err, parts.Stop())
	}
	return &Cluster{Services: services, Parts: parts}, nil
}

// Stop stops the services and then the parts, each with SIGTERM, and kills what does not end in time.
func (c *Cluster) Stop() error {
	return errors.Join(c.Services.Stop(), c.Parts.Stop())
}

// Processes lists all processes, parts first.
func (c *Cluster) Processes() []*Process {
	return append(c.Parts.Processes(), c.Services.Processes()...)
}

// Process returns the process of that name, nil if there is none.
func (c *Cluster) Process(name string) *Process { return find(c.Processes(), name) }

func find(list []*Process, name string) *Process {
	if i := slices.IndexFunc(list, func(p *Process) bool { return p.Name == name }); i >= 0 {
		return list[i]
	}
	return nil
}

// complete fills in the defaults and refuses what cannot be.
func (o Options) complete() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("local cluster: no directory")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, err
	}
	o.Dir = dir
	o.Servers, o.Tenants = orElse(o.Servers, 3), orElse(o.Tenants, 100)
	o.Sync = orElse(o.Sync, "always")
	o.Log = orElse(o.Log, io.Discard)
	switch {
	case o.Servers != 1 && o.Servers != 3:
		return o, fmt.Errorf("local cluster: %d NATS servers: want 1 or 3", o.Servers)
	case o.Sync != "always" && o.Sync != "interval":
		return o, fmt.Errorf("local cluster: sync %q: want always or interval", o.Sync)
	case o.Tenants > 999:
		return o, fmt.Errorf("local cluster: %d tenants: want at most 999", o.Tenants)
	case o.Keep && o.Mongo == "":
		return o, errors.New("local cluster: data can be kept only with a MongoDB of yours, since the stand-in forgets")
	}
	return o, os.MkdirAll(o.Dir, 0o700)
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}
