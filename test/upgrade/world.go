package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/oceanchat/oceanchat/test/fleet"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// world is a server, one process or a cluster, and people who talk over it and look at it.
type world struct {
	versions
	out    io.Writer
	dir    string
	single *local.Process // nil: a cluster
	made   uint32         // schema of the one process's database, as the old version has made it
	*cluster

	fleet   *fleet.Fleet
	witness *witness
}

// cluster is every service as two processes, and what they share.
type cluster struct {
	*local.Services
	parts *local.Parts
}

// partitions is how many the log has in a cluster where nobody says otherwise.
const partitions = 16

// newWorld starts the old version, and people who come to it.
func newWorld(ctx context.Context, b versions, f flags, mode, dir string, out io.Writer) (_ *world, err error) {
	w := &world{versions: b, out: out, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	settings := []string{
		"OCEANCHAT_API_GATEWAY_RATE_LIMIT=0", "OCEANCHAT_ROUTER_RATE_LIMIT=0", "OCEANCHAT_AUTH_ACCESS_TTL=24h",
	}
	o := local.Options{Dir: dir, Binary: b.old.path, Log: out, Tenants: 1}
	url, tcp, err := w.start(ctx, o, mode, settings)
	if err != nil {
		return nil, err
	}
	stores, err := os.MkdirTemp(dir, "clients-")
	if err != nil {
		return nil, err
	}
	w.fleet, err = fleet.Launch(ctx, fleet.Options{
		URL: url, TCP: "tcp://" + tcp, Name: "f", Size: f.clients, Every: f.every, Ahead: 64, Dir: stores,
	})
	if err != nil {
		return nil, err
	}
	w.witness, err = newWitness(ctx, url)
	return w, err
}

func (w *world) start(ctx context.Context, o local.Options, mode string, settings []string) (url, tcp string, err error) {
	if mode == "all" {
		if w.single, err = local.Single(ctx, o, settings, nil); err != nil {
			return "", "", err
		}
		return "http://" + w.single.HTTP, w.single.TCP, w.single.Restart(ctx)
	}
	w.cluster = &cluster{}
	if w.parts, err = local.StartParts(ctx, o); err != nil {
		return "", "", err
	}
	if w.Services, err = w.parts.Start(ctx, local.ServiceOptions{Env: settings}); err != nil {
		return "", "", err
	}
	return w.URL, w.TCP, nil
}

// step is a number of processes that become another version, group after group; those of a group at once.
type step struct {
	name   string
	to     version
	groups [][]*local.Process
}

// steps are the whole walk: to the new version, half of the way back, and forward again. Outer services go first once and
// inner ones another time: no order is needed.
func (w *world) steps(short bool) []step {
	if w.single != nil {
		one := [][]*local.Process{{w.single}}
		return []step{{"the new one on the old one's data", w.fresh, one}, {"back to the old one", w.old, one}, {"forward again", w.fresh, one}}
	}
	first, second := w.instances("-1"), w.instances("-2")
	inner := slices.Clone(first)
	slices.Reverse(inner)
	size := 1
	if short {
		size = 7
	}
	list := []step{
		{"the first of each becomes new", w.fresh, slices.Collect(slices.Chunk(first, size))},
		{"and the second", w.fresh, slices.Collect(slices.Chunk(second, size))},
		{"the first of each becomes old again", w.old, slices.Collect(slices.Chunk(inner, size))},
		{"and new again", w.fresh, slices.Collect(slices.Chunk(inner, size))},
	}
	if short {
		list = list[:3] // the last is the first once more
	}
	return list
}

func (w *world) instances(suffix string) (list []*local.Process) {
	for _, target := range local.Targets() {
		list = append(list, w.Process(target+suffix))
	}
	return list
}

// close ends everything. It may be called when not everything was started.
func (w *world) close() error {
	var errs []error
	if w.fleet != nil {
		errs = append(errs, w.fleet.Close())
	}
	if w.single != nil {
		errs = append(errs, ended(w.single))
	}
	if w.cluster != nil && w.Services != nil {
		errs = append(errs, w.Services.Stop())
	}
	if w.cluster != nil && w.parts != nil {
		errs = append(errs, w.parts.Stop())
	}
	return errors.Join(errs...)
}

// ended ends a process politely.
func ended(p *local.Process) error {
	code, err := p.Terminate()
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with code %d", p.Name, code)
	}
	return err
}
