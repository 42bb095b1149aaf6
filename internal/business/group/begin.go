package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// attempts bounds how often a change is planned anew because another instance changed the group in between.
const attempts = 20

// planner decides on a change of g, which has no pending one. It returns nil if there is nothing to do. It may run
// more than once, and what it reads of the members is as of g's version if Begin succeeds afterwards.
type planner func(ctx context.Context, g store.Group) (*change, error)

// change plans a change by a present member and takes it to its end; anyone else gets NOT_FOUND or NOT_MEMBER before
// taking a place in the queue. A fault of plan is returned as it is. After Begin no error says that nothing happened:
// the change is completed by and by.
func (s *Service) change(ctx context.Context, id chat.GroupID, actor chat.UserID, plan planner) error {
	if _, err := s.present(ctx, id, actor); err != nil {
		return err
	}
	return s.changeUnasked(ctx, id, plan)
}

// changeUnasked is change for what no member has asked for.
func (s *Service) changeUnasked(ctx context.Context, id chat.GroupID, plan planner) error {
	leave, err := s.queues.enter(ctx, id)
	if err != nil {
		return err
	}
	defer leave()
	for n := range attempts {
		if err := pause(ctx, n); err != nil {
			return err
		}
		g, err := s.settle(ctx, id)
		if err != nil {
			return err
		}
		c, err := plan(ctx, g)
		if err != nil || c == nil {
			return err
		}
		begun, err := s.begin(ctx, g, c)
		if err != nil {
			return err
		}
		if begun {
			return unsettled(s.complete(ctx, g, c))
		}
	}
	return busy()
}

// begin records c as pending. It returns false if another change was faster.
func (s *Service) begin(ctx context.Context, g store.Group, c *change) (bool, error) {
	begun, err := c.encode()
	if err != nil {
		return false, err
	}
	switch err := s.groups.Begin(ctx, g.ID, g.Version, begun); {
	case err == nil:
		return true, nil
	case errors.Is(err, store.ErrConflict):
		return false, nil
	default:
		// It may be recorded; then it will be completed.
		return false, unsettled(fmt.Errorf("begin a change of group %s: %w", g.ID, err))
	}
}

// unsettled is the answer for a change that is recorded, or may be, and could not be completed now.
func unsettled(err error) error {
	switch {
	case err == nil, fault.IsReason(err, fault.LogFull):
		return err
	case errors.Is(err, errRefused):
		return fault.Wrap(err, fault.InternalReason, "the change could not be written down")
	default:
		return fault.Wrap(err, fault.OutcomeUnknown, "the change is on its way; look again before repeating it").After(time.Second)
	}
}

func busy() error {
	return fault.New(fault.Overloaded, "the group is changing too fast").After(time.Second)
}

// pause waits before attempt n: not at all, then at random up to a quarter second.
func pause(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	most := min(10*time.Millisecond<<min(n, 5), 250*time.Millisecond)
	t := time.NewTimer(rand.N(most)) //nolint:gosec // spreads, hides nothing
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// queues lets the changes of one group in one after the other, so that those of one process do not spend their time
// on each other's conflicts. Correctness does not need it: the compare-and-set of Begin decides.
type queues struct {
	mu  sync.Mutex // guards of and their counts
	of  map[chat.GroupID]*queue
	max int
}

type queue struct {
	turn  chan struct{} // holds one token while a change is at work
	count int           // who is in or waits
}

// enter returns when it is the caller's turn.
func (q *queues) enter(ctx context.Context, id chat.GroupID) (leave func(), err error) {
	q.mu.Lock()
	g := q.of[id]
	if g == nil {
		g = &queue{turn: make(chan struct{}, 1)}
		q.of[id] = g
	}
	if g.count > q.max {
		q.mu.Unlock()
		return nil, busy()
	}
	g.count++
	q.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		return func() { <-g.turn; q.forget(id, g) }, nil
	case <-ctx.Done():
		q.forget(id, g)
		return nil, ctx.Err()
	}
}

func (q *queues) forget(id chat.GroupID, g *queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if g.count--; g.count == 0 {
		delete(q.of, id)
	}
}
