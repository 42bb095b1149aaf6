package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// readyWithin bounds a start whose context has no end. The first start fetches jars.
const readyWithin = 5 * time.Minute

// Parts are the running NATS servers, Redis and the stand-in for MongoDB. Its methods are safe for concurrent use.
type Parts struct {
	NATS  []*Process
	Redis *Process
	Mongo *Process // nil where the options name a MongoDB

	disks   []*Process // of the NATS servers, if they have their own
	release func()     // of the directory

	o      Options
	bin    string // folder of what was built
	ports  *ports
	system secretUser // of the NATS servers
	redis  string     // the password

	mu   sync.Mutex
	free []*tenant
	runs int // how many Services there were, for the names of their folders
}

// tenant is what keeps one set of Services apart from all others.
type tenant struct {
	Name string
	secretUser
}

type secretUser struct{ User, Password string }

// StartParts starts the parts and returns when they are ready. ctx bounds the start only. Data that
// Dir holds from an earlier time are deleted unless Options.Keep is set.
func StartParts(ctx context.Context, o Options) (*Parts, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	release, err := hold(o.Dir)
	if err != nil {
		return nil, err
	}
	p := &Parts{release: release, o: o, bin: filepath.Join(o.Dir, "bin"), ports: &ports{next: o.FirstPort}, redis: secret()}
	p.system = secretUser{"system", secret()}
	for i := range o.Tenants {
		p.free = append(p.free, &tenant{fmt.Sprintf("oceanchat%03d", i+1), secretUser{"oceanchat", secret()}})
	}
	for i, t := range p.free {
		if i > 0 {
			t.User = t.Name // the names of users are unique; the first is that of the shipped configuration
		}
	}
	if err := errors.Join(p.clear(), p.prepare(ctx)); err != nil {
		release()
		return nil, err
	}
	started := time.Now()
	err = startAll(ctx, p.disks)
	if err == nil {
		err = startAll(ctx, p.Processes())
	}
	if err != nil {
		killAll(append(p.Processes(), p.disks...))
		release()
		return nil, fmt.Errorf("start the parts of the cluster: %w", err)
	}
	_, _ = fmt.Fprintf(o.Log, "%d parts are ready after %s\n", len(p.Processes()), time.Since(started).Round(time.Millisecond))
	return p, nil
}

// clear deletes data of an earlier time, and nothing that this package did not make.
func (p *Parts) clear() error {
	if p.o.Keep {
		return nil
	}
	var errs []error
	for _, pattern := range []string{"nats-[123]", "nats-[123].disk", "redis", "services-*", "logs"} {
		found, err := filepath.Glob(filepath.Join(p.o.Dir, pattern))
		errs = append(errs, err)
		for _, path := range found {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// prepare builds what is missing and writes every configuration, but starts nothing.
func (p *Parts) prepare(ctx context.Context) error {
	if err := errors.Join(p.prepareNATS(ctx), p.prepareRedis(), p.prepareMongo(ctx)); err != nil {
		return err
	}
	if p.o.Binary != "" {
		return nil
	}
	_, _ = fmt.Fprintln(p.o.Log, "building oceanchat")
	var err error
	p.o.Binary, err = build(ctx, p.bin, "oceanchat", oceanchatPackage)
	return err
}

// process describes a part.
func (p *Parts) process(name, addr, path string, args ...string) *Process {
	return &Process{Name: name, Addr: addr, Log: filepath.Join(p.o.Dir, "logs", name+".log"), path: path, args: args, env: os.Environ()}
}

// Processes lists the parts.
func (p *Parts) Processes() []*Process {
	list := append([]*Process{}, p.NATS...)
	for _, one := range []*Process{p.Redis, p.Mongo} {
		if one != nil {
			list = append(list, one)
		}
	}
	return list
}

// Process returns the part of that name, nil if there is none.
func (p *Parts) Process(name string) *Process { return find(p.Processes(), name) }

// Stop stops the parts with SIGTERM and kills what does not end in time. Services must have stopped before.
func (p *Parts) Stop() error {
	defer p.release()
	defer killAll(p.disks)
	return endAll(p.Processes())
}

// NATSURLs lists where the NATS servers serve clients.
func (p *Parts) NATSURLs() []string {
	var urls []string
	for _, n := range p.NATS {
		urls = append(urls, "nats://"+n.Addr)
	}
	return urls
}

// monitors lists where the NATS servers tell operators of themselves.
func (p *Parts) monitors() []string {
	var urls []string
	for _, n := range p.NATS {
		urls = append(urls, "http://"+n.Ops)
	}
	return urls
}

// mongoURI returns the URI of a tenant's database.
func (p *Parts) mongoURI(database string) string {
	if p.Mongo != nil {
		return "mongodb://" + p.Mongo.Addr + "/" + database
	}
	address, options, _ := strings.Cut(p.o.Mongo, "?")
	uri := strings.TrimSuffix(address, "/") + "/" + database
	if options != "" {
		uri += "?" + options
	}
	return uri
}

// lease takes a tenant that nobody uses, and numbers the Services.
func (p *Parts) lease() (*tenant, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return nil, 0, fmt.Errorf("all %d tenants are in use: stop some Services first", p.o.Tenants)
	}
	t := p.free[0]
	p.free = p.free[1:]
	p.runs++
	return t, p.runs, nil
}

// forget deletes the data of a tenant, so that it can be used again. Files of its processes stay until the next start.
func (p *Parts) forget(ctx context.Context, t *tenant) error {
	errs := []error{p.purge(ctx, t), flush(ctx, p.Redis.Addr, p.redis, t.Name)}
	if p.Mongo != nil {
		errs = append(errs, drop(ctx, p.Mongo.Addr, t.Name))
	}
	return errors.Join(errs...)
}
