package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// fault is one way to break a server and to make it whole again.
type fault struct {
	name    string
	touches string // what it breaks: two that touch the same are not done at once
	short   bool   // belongs to the short suite
	times   int    // how often it is done in a row of the table
	quiet   bool   // people fall silent before it
	// prepare, if set, is done once before all faults, as it takes long.
	prepare func(ctx context.Context) error
	// run breaks and mends; it returns when the server has all its processes again.
	run func(ctx context.Context, r *runner) error
}

// everything is what a fault touches that leaves nothing alone.
const everything = "everything"

// faults lists all faults of this world; in the short suite some wait for less.
func (w *world) faults(short bool) []fault {
	if w.single != nil {
		return []fault{
			{name: "kill -9 the process", touches: everything, short: true, times: 3, run: killed(w.single)},
			{name: "stop the process for 10 s (SIGSTOP)", touches: everything, short: true, times: 1, run: paused(10*time.Second, w.single)},
			{name: "restart the process (SIGTERM)", touches: everything, short: true, times: 2, run: restarted(w.single)},
		}
	}
	if w.disks {
		return []fault{
			{name: "fill the disk of nats-2 for 20 s", touches: "nats", short: true, times: 1, run: w.full(20*time.Second, w.parts.NATS[1])},
			{name: "fill the disks of all three NATS servers for 20 s", touches: "nats", short: true, times: 1, run: w.full(20*time.Second, w.parts.NATS...)},
		}
	}
	away := 60 * time.Second
	if short {
		away = 10 * time.Second
	}
	var list []fault
	for _, target := range local.Targets() {
		inShort := slices.Contains([]string{"message", "ws-gateway", "orchestrator"}, target)
		list = append(list, fault{name: "kill -9 one of two " + target, touches: target, short: inShort, times: 2, run: w.one(target)})
	}
	for _, target := range []string{"message", "orchestrator", "persistence", "router", "pusher-realtime", "ws-gateway"} {
		list = append(list, fault{name: "kill -9 both " + target, touches: target, times: 1, run: killed(w.Of(target)...)})
	}
	for _, n := range w.parts.NATS {
		list = append(list, fault{name: "kill -9 " + n.Name, touches: "nats", short: n.Name == "nats-1", times: 1, run: killed(n)})
	}
	for _, target := range []string{"message", "query", "group", "orchestrator", "persistence", "pusher-realtime", "ws-gateway"} {
		list = append(list, fault{name: "stop " + target + "-1 for 10 s (SIGSTOP)", touches: target, times: 1, run: paused(10*time.Second, w.Process(target+"-1"))})
	}
	list = append(list,
		fault{name: "stop nats-2 for 30 s (SIGSTOP)", touches: "nats", times: 1, run: paused(30*time.Second, w.parts.NATS[1])},
		fault{name: "kill -9 Redis, back empty", touches: "redis", short: true, times: 1, run: func(ctx context.Context, r *runner) error { return w.emptyRedis(ctx, r.between(0, 2*time.Second)) }},
		fault{name: fmt.Sprintf("stop MongoDB for %.0f s (SIGSTOP)", away.Seconds()), touches: "mongo", short: true, times: 1, run: paused(away, w.parts.Mongo)},
	)
	for _, target := range linked {
		list = append(list, fault{name: "cut " + target + "-1 from NATS for 10 s", touches: target, short: target == "message", times: 1, run: w.parted(target+"-1", 10*time.Second)})
	}
	for _, n := range w.parts.NATS {
		list = append(list, fault{name: "cut " + n.Name + " from the other two for 30 s", touches: "nats", times: 1, run: w.parted(n.Name, 30*time.Second)})
	}
	for _, target := range clocked {
		list = append(list, fault{
			name: "step the clock of " + target + "-1 by an hour, forward and back", touches: target, times: 1, prepare: w.buildClocked,
			run: w.stepped(w.Process(target+"-1"), time.Hour),
		})
	}
	list = append(list,
		fault{name: "delete the stream OC_PUSH_ONLINE", touches: "OC_PUSH_ONLINE", short: true, times: 1, run: func(ctx context.Context, _ *runner) error { return w.DeleteStream(ctx, "OC_PUSH_ONLINE") }},
		fault{name: "restart every service, one after another (SIGTERM)", touches: everything, times: 1, run: restarted(w.Services.Processes()...)},
	)
	return append(list, w.drills()...)
}

// one kills either process of a target.
func (w *world) one(target string) func(context.Context, *runner) error {
	return func(ctx context.Context, r *runner) error {
		list := w.Of(target)
		return killed(list[r.below(int64(len(list)))])(ctx, r)
	}
}

// killed kills processes at once and starts them again a moment later.
func killed(list ...*local.Process) func(context.Context, *runner) error {
	return func(ctx context.Context, r *runner) error {
		var wg sync.WaitGroup
		for _, p := range list {
			wg.Go(p.Kill)
		}
		wg.Wait()
		if err := sleep(ctx, r.between(0, 2*time.Second)); err != nil {
			return err
		}
		return again(ctx, list...)
	}
}

// again starts processes and waits until they are ready.
func again(ctx context.Context, list ...*local.Process) error {
	for _, p := range list {
		if err := p.Start(); err != nil {
			return err
		}
	}
	for _, p := range list {
		if err := p.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func paused(d time.Duration, p *local.Process) func(context.Context, *runner) error {
	return func(ctx context.Context, _ *runner) error { return pausedFor(ctx, d, p) }
}

func pausedFor(ctx context.Context, d time.Duration, p *local.Process) error {
	if err := p.Pause(); err != nil {
		return err
	}
	err := sleep(ctx, d)
	if e := p.Continue(); e != nil {
		return e
	}
	if err != nil {
		return err
	}
	return p.Ready(ctx)
}

func (w *world) parted(name string, d time.Duration) func(context.Context, *runner) error {
	return func(ctx context.Context, _ *runner) error {
		mend := w.cut(name)
		err := sleep(ctx, d)
		mend()
		if err != nil {
			return err
		}
		return w.processNamed(name).Ready(ctx)
	}
}

func (w *world) processNamed(name string) *local.Process {
	list := w.processes()
	return list[slices.IndexFunc(list, func(p *local.Process) bool { return p.Name == name })]
}

// restarted ends processes politely and starts them again, one after another.
func restarted(list ...*local.Process) func(context.Context, *runner) error {
	return func(ctx context.Context, _ *runner) error {
		for _, p := range list {
			if err := ended(p); err != nil {
				return err
			}
			if err := again(ctx, p); err != nil {
				return err
			}
		}
		return nil
	}
}

// ended ends a process politely.
func ended(p *local.Process) error {
	code, err := p.Terminate()
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with code %d", p.Name, code)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
