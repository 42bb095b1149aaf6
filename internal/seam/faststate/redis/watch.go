package redis

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// errAway answers calls to a server that left the last one without an answer. The driver does not repeat it.
var errAway = errors.New("the server did not answer and has not been heard of since")

// watch fails calls to one server at once while that does not answer, so that a request that makes several waits for
// call_timeout once at most. It is a hook of the driver's client for that server; in a Cluster each node has its own.
//
// A call that ran out of time, or could not connect, takes the server for away, unless another was answered since it
// began: then it was one connection, or a slow command. While the server is away a Ping is sent in the background, no
// more than once per call_timeout; any answer to anything brings it back, an error of the server too.
type watch struct {
	every  time.Duration
	ping   func(context.Context) error
	probes *probes

	mu      sync.Mutex // guards below
	away    bool
	probing bool   // whether there is a goroutine that pings
	answers uint64 // how many there were
}

var _ redis.Hook = (*watch)(nil)

// watch has the calls of db, which is of one server, fail while that is away.
func (c *Client) watch(db *redis.Client) {
	db.AddHook(&watch{
		every: c.cfg.CallTimeout, probes: c.probes,
		ping: func(ctx context.Context) error { return db.Ping(ctx).Err() },
	})
}

// The marks of a context.
type (
	regardless struct{} // the attempt is made though the server is away
	hurried    struct{} // the caller's deadline comes before ours, so that it says nothing when it is over
)

// DialHook implements redis.Hook.
func (w *watch) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (w *watch) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return w.try(ctx, func() error { return next(ctx, cmd) }, cmd)
	}
}

// ProcessPipelineHook implements redis.Hook.
func (w *watch) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return w.try(ctx, func() error { return next(ctx, cmds) }, cmds...)
	}
}

// try calls send unless the server is away.
func (w *watch) try(ctx context.Context, send func() error, cmds ...redis.Cmder) error {
	w.mu.Lock()
	away, before := w.away, w.answers
	w.mu.Unlock()
	if away && ctx.Value(regardless{}) == nil {
		for _, cmd := range cmds {
			cmd.SetErr(errAway)
		}
		return errAway
	}
	err := send()
	w.learn(ctx, before, err)
	return err
}

// learn notes how a call ended that began after so many answers.
func (w *watch) learn(ctx context.Context, before uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case answered(err):
		w.away = false
		w.answers++
	case silent(ctx, err) && w.answers == before:
		w.away = true
		if !w.probing {
			w.probing = w.probes.start(w.probe)
		}
	}
}

// answered reports whether a call with this result was answered, be it by an error.
func answered(err error) bool {
	var reply redis.Error
	return err == nil || errors.As(err, &reply)
}

// silent reports whether a call ended because of the server, and not of a caller who did not wait.
func silent(ctx context.Context, err error) bool {
	if ctx.Value(hurried{}) != nil || errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	var connect *net.OpError
	if errors.As(err, &connect) && connect.Op == "dial" {
		return true
	}
	var late net.Error
	return errors.As(err, &late) && late.Timeout() || errors.Is(err, redis.ErrPoolTimeout)
}

// probe pings until the server is back, ctx ends or the driver has closed its client (a node that left the Cluster).
func (w *watch) probe(ctx context.Context) {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		err := w.pingOnce(ctx)
		if w.done(ctx.Err() != nil || errors.Is(err, redis.ErrClosed)) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// pingOnce lets learn see how a ping ends.
func (w *watch) pingOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, regardless{}, true), w.every)
	defer cancel()
	return w.ping(ctx)
}

// done reports whether probing ends, as it is over or the server is back.
func (w *watch) done(over bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probing = !over && w.away
	return !w.probing
}

// probes owns the goroutines of the watches, at most one for each server.
type probes struct {
	ctx    context.Context // ends with the Client
	cancel context.CancelFunc

	mu sync.Mutex // lets nothing start after stop
	wg sync.WaitGroup
}

func newProbes() *probes {
	ctx, cancel := context.WithCancel(context.Background())
	return &probes{ctx: ctx, cancel: cancel}
}

// start runs f, unless stop was called.
func (p *probes) start(f func(context.Context)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.wg.Go(func() { f(p.ctx) })
	return true
}

// stop tells all to end; wg waits for them.
func (p *probes) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel()
}
