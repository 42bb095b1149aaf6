package convlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// This file tells a log that goes on from one that lost what was read of it (L7).

// errSetBack says that the stream is not the one that was read, or that it lost some of it. Nothing in memory can be
// trusted then; a new start reconciles log and database (L7).
var errSetBack = errors.New("convlog: the stream was set back or replaced")

// errMarkBack says that the writer's mark went back: another start found the log set back, and has raised the epoch.
var errMarkBack = errors.New("convlog: the writer's mark was set back")

// fits tells whether a log holds what is stored of it.
func fits(mark Mark, info backbone.LogInfo) bool {
	return mark.Incarnation == info.Incarnation && mark.Position <= info.Last
}

// Missing returns how many batches were purged from a log that the mark does not know to be stored. Purged is only what is stored, so a newer
// database had them: in this one and in the log they are missing, and nothing that is left need show it. Of another log than the
// mark's all that was purged counts; some of it may have been stored by way of the log before.
func Missing(mark Mark, info backbone.LogInfo) uint64 {
	next := uint64(1)
	if mark.Incarnation == info.Incarnation {
		next = mark.Position + 1
	}
	return max(info.First, next) - next
}

// confirmed returns the stream's state as a leader sees it that a majority follows: one that was cut off answers for some
// seconds more, and what it says must not be taken for a log that was set back (L7).
func (p *partition) confirmed(ctx context.Context) (backbone.LogInfo, error) {
	if err := p.stream.Confirm(ctx); err != nil {
		return backbone.LogInfo{}, err
	}
	info, err := p.stream.Info(ctx)
	if err != nil {
		return info, fmt.Errorf("ask for the stream's state: %w", err)
	}
	return info, nil
}

// goesOn tells whether the log holds what is folded: it reaches as far, and the last message that was read is still the
// one at its place. Where that one was purged there is nothing to compare with, and it is not said to be another (L7).
func (p *partition) goesOn(ctx context.Context, info backbone.LogInfo) (bool, error) {
	least, at, last, seen := p.fold.end()
	if !fits(least, info) {
		return false, nil
	}
	if at < max(info.First, 1) {
		return true, nil
	}
	m, err := p.stream.Get(ctx, at)
	if errors.Is(err, backbone.ErrNotFound) {
		return false, errPurged
	}
	if err != nil {
		return false, fmt.Errorf("read position %d: %w", at, err)
	}
	id, _, err := DecodeBatch(m.Data)
	if err != nil {
		id = BatchID{}
	}
	return seen && id == last, nil
}

// lookAt looks whether the stream still holds what was read of it, so that a log that was set back is noticed before it
// has grown again, also when nobody reads or sends here. What was acknowledged since the last look has shown as much.
func (a *appender) lookAt(ctx context.Context) {
	if a.acked {
		a.acked = false
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(2*a.cfg.LookEvery, a.cfg.PublishTimeout))
	defer cancel()
	err := a.catchUp(ctx, nil)
	if errors.Is(err, errSetBack) {
		a.alarm("log_set_back")
		a.lost = err
	} else if err != nil && !errors.Is(err, errPurged) && !a.blind {
		a.log.WarnContext(ctx, "the log cannot be looked at", "err", err)
	}
	a.blind = err != nil
}

// judged waits a moment while the loop finds out whether the log was set back; then it ends. It answers false when it has
// ended, or ctx has.
func (p *partition) judged(ctx context.Context) bool {
	select {
	case <-time.After(followAgain):
		return true
	case <-p.ended:
	case <-ctx.Done():
	}
	return false
}

// raise raises the epoch where the next start would see nothing amiss: the log lost what this process had read, and perhaps
// gave away, and was filled again behind the writer's mark. Clients may hold entries under numbers that now are others'.
func (p *partition) raise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.PublishTimeout)
	defer cancel()
	for {
		done, err := p.tryRaise(ctx)
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the epoch is not raised, and clients may keep entries that were lost: %w", errors.Join(err, ctx.Err()))
		case <-time.After(followAgain):
		}
	}
}

func (p *partition) tryRaise(ctx context.Context) (done bool, err error) {
	mark, err := p.stored.Mark(ctx, p.index)
	if err != nil {
		return false, fmt.Errorf("read the writer's mark: %w", err)
	}
	info, err := p.stream.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("ask for the stream's state: %w", err)
	}
	if mark.Incarnation != p.fold.logOf() || !fits(mark, info) {
		return true, nil // a start has done it, or the next one does
	}
	if done, err = p.stored.MoveMark(ctx, p.index, mark, mark, true); err != nil || !done {
		return false, err
	}
	p.alarm("epoch_raised")
	p.log.WarnContext(ctx, "the log lost what was read of it: epoch raised", "log", info.Last, "read", p.fold.at(), "stored", mark.Position)
	return true, nil
}
