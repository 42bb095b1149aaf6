package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// clusterLossWithin is how old the oldest message may be that a cluster loses whose NATS servers sync now and then: their
// interval, and the time until a sync that is due is done.
const clusterLossWithin = 2*time.Minute + 2*time.Second

// cluster is a cluster whose NATS servers have disks of their own, and a machine each.
type cluster struct {
	*walk
	parts    *local.Parts
	services *local.Services
	nats     *machine // all three
	keeper   *keeper
}

// kind is what loses its power together.
type kind struct {
	name   string
	short  bool // also in a short run
	choose func() *machine
}

func (c *cluster) kinds() []kind {
	some := func(n int) func() *machine {
		return func() *machine {
			m := &machine{}
			for _, i := range c.rnd.Perm(len(c.nats.procs))[:n] {
				m.procs, m.shelfs = append(m.procs, c.nats.procs[i]), append(m.shelfs, c.nats.shelfs[i])
			}
			return m
		}
	}
	all := &machine{shelfs: c.nats.shelfs, keeper: c.keeper}
	all.procs = slices.Concat(c.nats.procs, []*local.Process{c.parts.Redis}, c.services.Processes())
	return []kind{
		{"of all three NATS servers", true, some(3)},
		{"of two of three", false, some(2)},
		{"of one of three", false, some(1)},
		{"of all three, Redis and every service", true, func() *machine { return all }},
	}
}

// groups are the processes of the services, two of each: those by themselves that write and read the log.
func groups() [][]string {
	return [][]string{
		{"message"},
		{"persistence"},
		{"orchestrator"},
		{"api-gateway", "ws-gateway", "router", "pusher-realtime", "pusher-offline", "auth", "user", "group", "presence", "query"},
	}
}

// startCluster starts one on empty disks.
func (w *walk) startCluster(ctx context.Context) (c *cluster, err error) {
	dir := filepath.Join(w.dir, w.f.sync+"-cluster")
	c = &cluster{walk: w, nats: &machine{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	stores := filepath.Join(dir, "disks")
	for i := range 3 {
		c.nats.shelfs = append(c.nats.shelfs, &shelf{dir: filepath.Join(stores, fmt.Sprintf("nats-%d", i+1))})
	}
	c.nats.empty(w.keeping(), w.rnd.Uint64())
	if err := c.nats.show(); err != nil {
		return c, err
	}
	if c.parts, err = local.StartParts(ctx, local.Options{Dir: dir, Binary: w.f.binary, Sync: w.f.sync, Tenants: 1, NATSStores: stores}); err != nil {
		return c, err
	}
	c.nats.procs = c.parts.NATS
	c.services, err = c.parts.Start(ctx, local.ServiceOptions{Groups: groups(), Env: settings()})
	if err != nil {
		return c, err
	}
	c.keeper = &keeper{procs: c.services.Processes()}
	return c, nil
}

// close ends everything that was started.
func (c *cluster) close() error {
	var errs []error
	if c.services != nil {
		errs = append(errs, c.services.Stop())
	}
	errs = append(errs, c.nats.close())
	if c.parts != nil {
		errs = append(errs, c.parts.Stop())
	}
	return errors.Join(errs...)
}

// clusterTalk cuts the power of a cluster's parts while people talk.
func (w *walk) clusterTalk(ctx context.Context) (err error) {
	c, err := w.startCluster(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t, err := w.people(ctx, c.services.URL, c.services.TCP, clerkEveryCluster)
	if err != nil {
		return err
	}
	t.keeps = c.keeper
	defer func() { err = errors.Join(err, t.fleet.Close()) }()
	return c.cuts(ctx, t)
}

// settle has the disks of servers that sync now and then keep what was written before this cut. Without it no file would be
// durable that they never sync, as the descriptions of streams; the system writes those after half a minute.
func (c *cluster) settle() {
	if c.f.sync == "always" {
		return
	}
	for _, s := range c.nats.shelfs {
		s.disk.Settle()
	}
}

// cuts does those that are asked for.
func (c *cluster) cuts(ctx context.Context, t *talk) error {
	kept, stop := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { c.keeper.work(kept) })
	defer keeping.Wait()
	defer stop()
	only := regexp.MustCompile(c.f.only)
	list := slices.DeleteFunc(c.kinds(), func(k kind) bool { return !only.MatchString(k.name) || c.f.short && !k.short })
	if len(list) == 0 {
		return fmt.Errorf("no cut is named like %q", c.f.only)
	}
	for _, k := range list {
		choose := func() *machine {
			c.settle()
			return k.choose()
		}
		if err := t.cuts(ctx, k.name, clusterLossWithin, choose); err != nil {
			return err
		}
	}
	return nil
}
