package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// lookEvery is the pause between two looks at what others do.
const lookEvery = 200 * time.Millisecond

// The answers that are no success.
var (
	errLoss   = errors.New("the database and the log both lack them; put back a newer back-up of the database, or accept it with --accept-loss")
	errNotRun = errors.New("nothing was changed: run it again with --apply")
)

// run is one run of the command.
type run struct {
	Data
	options
	out io.Writer

	of     int // for how many partitions the logs were made
	parts  []part
	raised bool // the epoch, by this run
}

// all looks, and acts if it is told to.
func (r *run) all(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	if r.partitions == 0 && r.of != r.Partitions {
		r.say("log.partitions is %d, and the logs were made for %d", r.Partitions, r.of)
	}
	amiss := r.tell(r.out)
	if err := r.losses(); err != nil {
		return err
	}
	change := r.partitions > 0 && r.partitions != r.of
	switch {
	case amiss == 0 && !change:
		if r.waits() == nil {
			r.say("all of it is stored and handed on")
		}
		r.say("nothing to do")
		return r.note()
	case !r.apply:
		if change {
			r.say("the number of partitions would be changed from %d to %d, in a new epoch", r.of, r.partitions)
		}
		return errNotRun
	}
	if err := r.mend(ctx); err != nil {
		return err
	}
	if change {
		if err := r.change(ctx); err != nil {
			return err
		}
	}
	epoch, err := r.Log.Epoch(ctx)
	if err != nil {
		return err
	}
	r.say("done; the epoch is %d", epoch)
	return r.note()
}

// losses refuses what is lost unless that is accepted.
func (r *run) losses() error {
	loss := func(p part) bool { return p.purged() > 0 || p.missing > 0 }
	if !slices.ContainsFunc(r.parts, loss) {
		return nil
	}
	if !r.acceptLoss {
		return errLoss
	}
	if slices.ContainsFunc(r.parts, func(p part) bool { return p.purged() > 0 }) {
		r.say("where nothing is left of a conversation that lost entries, their numbers are given again; clients learn of it by the epoch")
	}
	return nil
}

func (r *run) say(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format+"\n", args...) }

// note keeps a new number of partitions, and says what is left to do.
func (r *run) note() error {
	if r.partitions == 0 {
		return nil
	}
	if r.partitions != r.Partitions {
		r.say("set log.partitions to %d for every process before it starts", r.partitions)
	}
	return r.Note(r.partitions)
}

// mend makes every partition current.
func (r *run) mend(ctx context.Context) error {
	for i := range r.parts {
		p := &r.parts[i]
		var err error
		switch p.state() {
		case lost, setBack:
			err = r.advance(ctx, p, r.of, max(p.mark.Position, p.info.Last))
		case torn:
			err = r.join(ctx, p)
		case current:
		}
		if err != nil {
			return fmt.Errorf("partition %d: %w", p.index, err)
		}
	}
	return nil
}

// advance lets a partition's log go on behind a position, in a new epoch. What it holds must not be needed. Ended half-way it leaves a log
// that was set back, which the next run advances.
func (r *run) advance(ctx context.Context, p *part, of int, to uint64) error {
	if err := r.Backbone.Declare(ctx, p.index, of); err != nil {
		return err
	}
	l, err := r.Backbone.Log(ctx, p.index)
	if err != nil {
		return err
	}
	info, err := l.Info(ctx)
	if err != nil {
		return err
	}
	if err := r.moveMark(ctx, p, store.Mark{Incarnation: info.Incarnation, Position: to}); err != nil {
		return err
	}
	return l.Purge(ctx, to)
}

// join lets the writer store a log whose beginning does not follow what is stored; what is missing stays empty.
func (r *run) join(ctx context.Context, p *part) error {
	l, err := r.Backbone.Log(ctx, p.index)
	if err != nil {
		return err
	}
	gaps, err := r.gaps(ctx, p, l)
	if err != nil {
		return err
	}
	if err := r.fill(ctx, p, gaps); err != nil {
		return err
	}
	return r.moveMark(ctx, p, store.Mark{Incarnation: p.info.Incarnation, Position: max(p.info.First, 1) - 1})
}

// moveMark moves a mark and raises the epoch, once in a run.
func (r *run) moveMark(ctx context.Context, p *part, to store.Mark) error {
	err := r.Log.MoveMark(ctx, p.index, p.mark, to, !r.raised)
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("its mark was moved meanwhile, somebody is at work: %w", err)
	}
	if err == nil {
		r.raised, p.mark = true, to
	}
	return err
}

// change spreads the conversations over another number of partitions. All logs are empty then, and go on behind the highest position that
// any of them had: what clients and heads remember of positions stays below what is to come.
func (r *run) change(ctx context.Context) error {
	if err := r.drained(ctx); err != nil {
		return err
	}
	var highest uint64
	for i := range r.parts {
		highest = max(highest, r.parts[i].mark.Position, r.parts[i].info.Last)
	}
	for i := range max(r.of, r.partitions) {
		if i >= r.partitions {
			if err := r.Backbone.Drop(ctx, i); err != nil {
				return err
			}
			continue
		}
		p := &part{index: i}
		var err error
		if p.mark, err = r.Log.Mark(ctx, i); err != nil {
			return err
		}
		if err := r.advance(ctx, p, r.partitions, highest); err != nil {
			return fmt.Errorf("partition %d: %w", i, err)
		}
	}
	return nil
}

// waits returns a partition whose log holds what is still needed, nil if there is none.
func (r *run) waits() *part {
	for i := range r.parts {
		if p := &r.parts[i]; !p.handled() {
			return p
		}
	}
	return nil
}

// drained waits until everything is stored and handed on.
func (r *run) drained(ctx context.Context) error {
	for end := time.Now().Add(r.wait); ; {
		if err := r.look(ctx); err != nil {
			return err
		}
		waits := r.waits()
		if waits == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("partition %d: %s, after %s: do persistence and orchestrator run?", waits.index, waits.words(), r.wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}
