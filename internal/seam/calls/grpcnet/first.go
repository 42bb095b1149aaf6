package grpcnet

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

// askAfter is how long one instance may be silent before the next is asked too. A read takes some 10 ms; who needs 1 s hangs, or has so
// much to do that crossing.Patience soon ends the repeating.
const askAfter = time.Second

// race is one call that several instances are asked, because it has no side effects.
type race struct {
	n      *Network
	p      *peers
	ctx    context.Context //nolint:containedctx // of the one call that it lives for
	method string
	args   any

	ended chan attempt // holds all
	begun int
	open  int            // of those that were begun
	under sync.WaitGroup // those that are open, or were when the race was decided
}

// attempt is how one instance's part of a race ended.
type attempt struct {
	reply proto.Message
	err   error
}

// first returns the first answer: an instance that is silent for askAfter, or lost with the call, is not waited for alone; the next one
// is asked besides, crossing.Tries in all. Nobody who is only slow is given up, so this never takes longer than asking one.
func (n *Network) first(ctx context.Context, p *peers, fullMethod string, args, reply any) error {
	ctx, cancel := context.WithCancel(ctx)
	r := race{n: n, p: p, ctx: ctx, method: fullMethod, args: args, ended: make(chan attempt, crossing.Tries)}
	into := reply.(proto.Message) //nolint:forcetypeassert // by checkMessages
	r.ask(into)
	a := r.run(into)
	cancel()
	r.under.Wait() // args and reply are the caller's again
	if a.err == nil && a.reply != into {
		proto.Reset(into)
		proto.Merge(into, a.reply)
	}
	return a.err
}

// run returns the attempt that counts.
func (r *race) run(into proto.Message) attempt {
	late := time.NewTimer(askAfter)
	defer late.Stop()
	for {
		select {
		case <-late.C:
			r.again(into, late)
		case a := <-r.ended:
			r.open--
			lost := fault.IsReason(a.err, fault.OutcomeUnknown)
			refused := fault.IsReason(a.err, fault.Overloaded)
			if lost && r.ctx.Err() == nil && r.again(into, late) || r.open > 0 && (lost || refused && a.reply != into) {
				continue // what a later one refuses, one that is at work may still answer
			}
			if r.begun == 1 && !lost && !refused {
				r.p.patience.Regain()
			}
			return a
		}
	}
}

func (r *race) ask(into proto.Message) {
	r.begun++
	r.open++
	r.under.Go(func() { r.ended <- attempt{into, r.p.invoke(r.ctx, r.method, r.args, into)} })
}

// again asks one more instance, if that is allowed.
func (r *race) again(like proto.Message, late *time.Timer) bool {
	if r.begun == crossing.Tries || !r.p.patience.Spend() {
		return false
	}
	r.n.observer.Repeat(r.method)
	r.ask(like.ProtoReflect().New().Interface())
	late.Reset(askAfter)
	return true
}
