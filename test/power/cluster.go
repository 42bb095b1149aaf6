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
	name    string
	servers int  // of NATS
	all     bool // Redis and the services too
	short   bool // also in a short run
}

var kinds = []kind{
	{name: "of all three NATS servers", servers: 3, short: true},
	{name: "of two of three", servers: 2},
	{name: "of one of three", servers: 1},
	{name: "of all three, Redis and every service", servers: 3, all: true},
}

// choose takes servers by chance.
func (c *cluster) choose(k kind) *machine {
	m := &machine{}
	for _, i := range c.rnd.Perm(len(c.nats.procs))[:k.servers] {
		m.procs, m.shelfs = append(m.procs, c.nats.procs[i]), append(m.shelfs, c.nats.shelfs[i])
	}
	if k.all {
		m.procs = slices.Concat(m.procs, []*local.Process{c.parts.Redis}, c.services.Processes())
		m.keeper = c.keeper
	}
	return m
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
func (w *walk) startCluster(ctx context.Context, name string) (c *cluster, err error) {
	dir := filepath.Join(w.dir, w.f.sync+"-"+name)
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
	switch {
	case c.services == nil:
	case c.f.sync == "always":
		errs = append(errs, c.services.Stop())
	default:
		c.services.Kill() // one that has just found its log set back has ended by itself
	}
	errs = append(errs, c.nats.close())
	if c.parts != nil {
		errs = append(errs, c.parts.Stop())
	}
	return errors.Join(errs...)
}

// clusterTalk cuts the power of a cluster's parts while people talk: of one cluster, or of one after another where one is of no
// use any more.
func (w *walk) clusterTalk(ctx context.Context) error {
	only := regexp.MustCompile(w.f.only)
	list := slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return !only.MatchString(k.name) || w.f.short && !k.short })
	if len(list) == 0 {
		return fmt.Errorf("no cut is named like %q", w.f.only)
	}
	for n := 1; len(list) > 0; n++ {
		var err error
		if list, err = w.oneCluster(ctx, fmt.Sprintf("cluster-%d", n), list); err != nil {
			return err
		}
	}
	return nil
}

// oneCluster does cuts of a cluster, and returns those that a new one is needed for.
func (w *walk) oneCluster(ctx context.Context, name string, list []kind) (rest []kind, err error) {
	c, err := w.startCluster(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t, err := w.people(ctx, c.services.URL, c.services.TCP, clerkEveryCluster)
	if err != nil {
		return nil, err
	}
	t.keeps = c.keeper
	defer func() { err = errors.Join(err, t.fleet.Close()) }()
	return c.cuts(ctx, t, list)
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

// cuts does them in turn, until the cluster is stuck.
func (c *cluster) cuts(ctx context.Context, t *talk, list []kind) (rest []kind, err error) {
	kept, stop := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { c.keeper.work(kept) })
	defer keeping.Wait()
	defer stop()
	for i, k := range list {
		choose := func() *machine {
			c.settle()
			return c.choose(k)
		}
		err := t.cuts(ctx, k.name, clusterLossWithin, choose)
		if errors.Is(err, errStuck) {
			return list[i+1:], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}
