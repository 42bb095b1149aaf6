package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/fleet"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// world is a server, one process or a cluster, and people who talk over it.
type world struct {
	single *local.Process // nil: a cluster
	parts  *local.Parts
	*local.Services

	dir, binary   string
	clockedBinary string // its clock can be stepped; "" until it is built
	disks         bool   // NATS servers have small disks of their own

	links  map[string]*local.Link // by "from>to": from one NATS server or service to a NATS server
	fleet  *fleet.Fleet
	reader *client.User
}

// linked are the services whose first process reaches NATS over links.
var linked = []string{"ws-gateway", "message", "orchestrator", "persistence", "pusher-realtime"}

func newWorld(ctx context.Context, f flags, dir string, log io.Writer) (_ *world, err error) {
	w := &world{links: map[string]*local.Link{}, dir: dir, binary: f.binary, disks: f.mode == "disk"}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	settings := []string{
		"OCEANCHAT_API_GATEWAY_RATE_LIMIT=0", "OCEANCHAT_ROUTER_RATE_LIMIT=0", "OCEANCHAT_AUTH_ACCESS_TTL=24h",
	}
	o := local.Options{Dir: dir, Binary: f.binary, Log: log, Tenants: 1, Route: w.route(ctx)}
	if w.disks {
		o.NATSDisk = "1g"
	}
	var url, tcp string
	if f.mode == "all" {
		if w.single, err = local.Single(ctx, o, settings, nil); err != nil {
			return nil, err
		}
		if err := w.single.Start(); err != nil {
			return nil, err
		}
		if err := w.single.Ready(ctx); err != nil {
			return nil, err
		}
		url, tcp = "http://"+w.single.HTTP, w.single.TCP
	} else {
		if err := w.startCluster(ctx, o, settings); err != nil {
			return nil, err
		}
		url, tcp = w.URL, w.TCP
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
	w.reader = w.fleet.Boats[0].User
	return w, nil
}

func (w *world) startCluster(ctx context.Context, o local.Options, settings []string) (err error) {
	if w.parts, err = local.StartParts(ctx, o); err != nil {
		return err
	}
	of := map[string][]string{}
	for _, target := range linked {
		var urls []string
		for _, n := range w.parts.NATS {
			l, err := w.link(ctx, target+"-1>"+n.Name, n.Addr)
			if err != nil {
				return err
			}
			urls = append(urls, "nats://"+l)
		}
		of[target+"-1"] = []string{"OCEANCHAT_NATS_URLS=" + strings.Join(urls, ",")}
	}
	for _, target := range clocked {
		of[target+"-1"] = append(of[target+"-1"], clockFile+"="+clockOf(w.dir, target+"-1"))
	}
	w.Services, err = w.parts.Start(ctx, local.ServiceOptions{Env: settings, EnvOf: of})
	return err
}

// route puts a link between any two NATS servers.
func (w *world) route(ctx context.Context) func(from, to int, addr string) (string, error) {
	return func(from, to int, addr string) (string, error) {
		return w.link(ctx, fmt.Sprintf("nats-%d>nats-%d", from+1, to+1), addr)
	}
}

func (w *world) link(ctx context.Context, name, addr string) (string, error) {
	l, err := local.OpenLink(ctx, addr)
	if err != nil {
		return "", err
	}
	w.links[name] = l
	return l.Addr(), nil
}

// cut cuts all links from and to name; mend undoes it.
func (w *world) cut(name string) (mend func()) {
	var list []*local.Link
	for id, l := range w.links {
		if from, to, _ := strings.Cut(id, ">"); from == name || to == name {
			list = append(list, l)
			l.Cut()
		}
	}
	return func() {
		for _, l := range list {
			l.Mend()
		}
	}
}

// processes lists what the server is made of.
func (w *world) processes() []*local.Process {
	if w.single != nil {
		return []*local.Process{w.single}
	}
	return append(w.parts.Processes(), w.Services.Processes()...)
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
	if w.Services != nil {
		errs = append(errs, w.Services.Stop())
	}
	if w.parts != nil {
		errs = append(errs, w.parts.Stop())
	}
	for _, l := range w.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// emptyRedis kills Redis and starts it a while later, with nothing.
func (w *world) emptyRedis(ctx context.Context, away time.Duration) error {
	if err := w.parts.EmptyRedis(); err != nil {
		return err
	}
	if err := sleep(ctx, away); err != nil {
		return err
	}
	return again(ctx, w.parts.Redis)
}
