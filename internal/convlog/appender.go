package convlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// request is one call of Append on its way.
type request struct {
	draft        Draft
	conversation chat.ConversationID
	ctx          context.Context
	key          idKey
	body         uint64
	size         int
	came         time.Time
	lookedUp     *moment // when its id was last looked for beyond those that are remembered; nil: it was not
	inside       *atomic.Int64
	done         chan outcome
}

// answer ends a request; each is answered once.
func (r *request) answer(res Result, err error) {
	r.inside.Add(-1)
	r.done <- outcome{res, err}
}

type outcome struct {
	Result
	err error
}

// appender is the loop's own state: nothing in it is shared.
type appender struct {
	*partition
	waiting []*request                         // in order, to be numbered
	parked  map[chat.ConversationID][]*request // behind a request of theirs that asks the database
	asking  map[chat.ConversationID]bool       // conversations with a look-up under way
	working map[chat.ConversationID]Head       // heads as the batch in the making leaves them
	inBatch map[idKey]bool
	started time.Time // of the last publish
	slots   chan struct{}
	work    sync.WaitGroup // what asks the database
	marks   chan Mark      // the writer's, as read
	mark    Mark           // the last of them
	again   <-chan time.Time
	look    <-chan time.Time
	acked   bool  // something was, since the last look
	blind   bool  // the last attempt to catch up failed
	lost    error // why the loop has to end
}

func newAppender(p *partition, mark Mark) *appender {
	return &appender{
		partition: p, parked: map[chat.ConversationID][]*request{}, asking: map[chat.ConversationID]bool{},
		working: map[chat.ConversationID]Head{}, inBatch: map[idKey]bool{},
		slots: make(chan struct{}, lookups), marks: make(chan Mark), mark: mark,
	}
}

// loop appends until ctx ends. An error means that the stream lost what was read of it: the process starts anew.
func (a *appender) loop(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	a.work.Go(func() { a.watchMark(ctx) })
	if !a.cfg.Sole { // who is alone sees it in the answer to its next publish
		tick := time.NewTicker(a.cfg.LookEvery)
		defer tick.Stop()
		a.look = tick.C
	}
	for ctx.Err() == nil && a.lost == nil {
		if len(a.waiting) == 0 {
			a.idle(ctx)
		}
		a.drain(ctx)
		if a.lost != nil {
			break
		}
		if b := a.gather(ctx); b != nil {
			a.pace(ctx)
			a.lost = a.publish(ctx, b)
		}
	}
	cancel()
	a.work.Wait()
	a.failAll(overloaded("the server is stopping"))
	return a.lost
}

// idle waits for work of any kind.
func (a *appender) idle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case r := <-a.queue:
		a.enter(r)
	case pr := <-a.ready:
		a.resume(pr)
	case <-a.behind:
		a.follow(ctx)
	case <-a.again:
		a.follow(ctx)
	case <-a.look:
		a.lookAt(ctx)
	case m := <-a.marks:
		a.learn(m)
	}
}

// enter takes a request from the queue. One that has waited too long is refused: nothing of it was ever offered to the
// stream, so unlike one that is given up later it has a certain outcome, and those behind it need not wait in vain too.
func (a *appender) enter(r *request) {
	if time.Since(r.came) > a.cfg.Wait {
		r.answer(Result{}, overloaded("the message waited too long for the log; this attempt stored nothing"))
		return
	}
	a.waiting = append(a.waiting, r)
}

// drain takes what has arrived, without waiting: the next batch is what came while the last one was published.
func (a *appender) drain(ctx context.Context) {
	for len(a.waiting) < a.cfg.BatchEntries && a.lost == nil {
		select {
		case r := <-a.queue:
			a.enter(r)
		case pr := <-a.ready:
			a.resume(pr)
		case <-a.behind:
			a.follow(ctx)
		case <-a.again:
			a.follow(ctx)
		case <-a.look:
			a.lookAt(ctx)
		case m := <-a.marks:
			a.learn(m)
		default:
			return
		}
	}
}

// followAgain is how long after a failure follow tries again.
const followAgain = 200 * time.Millisecond

// follow catches up for readers. They wait, so it tries again until it succeeds.
func (a *appender) follow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PublishTimeout)
	defer cancel()
	a.again = nil
	err := a.catchUp(ctx, nil)
	a.blind = err != nil
	switch {
	case err == nil:
	case errors.Is(err, errSetBack):
		a.alarm("log_set_back")
		a.lost = err
	default:
		a.log.WarnContext(ctx, "catching up failed, it is tried again", "err", err)
		a.again = time.After(followAgain)
	}
}

// watchMark reads how far the writer is, beside the loop: no send waits for the database.
func (a *appender) watchMark(ctx context.Context) {
	tick := time.NewTicker(a.cfg.MarkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		mark, err := a.readMark(ctx)
		if err != nil {
			if ctx.Err() == nil {
				a.log.WarnContext(ctx, "the writer's mark cannot be read; what it stored stays in memory", "err", err)
			}
			continue
		}
		select {
		case a.marks <- mark:
		case <-ctx.Done():
			return
		}
	}
}

func (a *appender) readMark(ctx context.Context) (Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PublishTimeout)
	defer cancel()
	return a.stored.Mark(ctx, a.index)
}

// learn takes in the writer's mark. One that is of another log or has gone back was moved by a start that found the log
// replaced or set back.
func (a *appender) learn(mark Mark) {
	if mark.Incarnation != a.mark.Incarnation || mark.Position < a.mark.Position {
		a.alarm("log_set_back")
		a.lost = fmt.Errorf("%w: it was at %+v and is at %+v", errMarkBack, a.mark, mark)
		return
	}
	a.mark = mark
	a.fold.trim(mark.Position)
}

// gather numbers waiting requests into a batch; nil if none could be. Requests that are done, repeated, stale or in
// need of the database leave the queue here.
func (a *appender) gather(ctx context.Context) *inflight {
	b := &inflight{expect: a.fold.at(), gaps: a.fold.now().gaps}
	clear(a.working)
	clear(a.inBatch)
	size, later := 0, a.waiting[:0]
	for i, r := range a.waiting {
		if len(b.entries) >= a.cfg.BatchEntries || size+r.size > a.cfg.BatchBytes && len(b.entries) > 0 {
			later = append(later, a.waiting[i:]...)
			break
		}
		switch a.place(ctx, r, b) {
		case placed:
			size += r.size
		case postponed:
			later = append(later, r)
		case gone:
		}
	}
	clear(a.waiting[len(later):])
	a.waiting = later
	if len(b.entries) == 0 {
		return nil
	}
	b.id = a.nextBatchID()
	data, err := EncodeBatch(b.id, b.entries)
	if err != nil {
		a.waiting = append(b.dropBad(err), a.waiting...)
		return nil
	}
	b.data = data
	return b
}

type placing int

const (
	placed    placing = iota // numbered into the batch
	postponed                // stays in the queue for the next batch
	gone                     // answered, or parked behind the database
)

// place decides on one request.
func (a *appender) place(ctx context.Context, r *request, b *inflight) placing {
	if r.ctx.Err() != nil {
		r.answer(Result{}, errGaveUp())
		return gone
	}
	if a.asking[r.conversation] {
		a.parked[r.conversation] = append(a.parked[r.conversation], r)
		return gone
	}
	if r.draft.Entry.GetClientMsgId() != "" {
		if a.inBatch[r.key] {
			return postponed // its twin is in this batch; the answer is known afterwards
		}
		if known, ok := a.fold.remembered(r.key); ok {
			r.answer(repeated(known, r.body))
			return gone
		}
		if r.draft.Resend && !a.fold.remembersSince(r.lookedUp) {
			a.ask(ctx, r)
			return gone
		}
	}
	if r.draft.Known {
		r.answer(Result{}, ErrStalePermit)
		return gone
	}
	h, ok := a.working[r.conversation]
	if !ok {
		if h, ok = a.fold.headOf(r.conversation); !ok {
			a.ask(ctx, r)
			return gone
		}
	}
	if r.draft.Permit < h.NoticeSeq {
		r.answer(Result{}, ErrStalePermit)
		return gone
	}
	a.working[r.conversation] = a.number(r, h, b)
	a.inBatch[r.key] = r.draft.Entry.GetClientMsgId() != ""
	return placed
}

func repeated(known remembered, body uint64) (Result, error) {
	if known.body != body {
		return Result{}, fault.New(fault.ClientMsgIDReused, "this clientMsgId was used for another message")
	}
	return known.result(), nil
}

// number gives r the place behind h, appends it to b and returns the new head. sentAt never falls (invariant 2 is
// about seq; clients also sort by it).
func (a *appender) number(r *request, h Head, b *inflight) Head {
	e := r.draft.Entry
	h.Seq++
	if Raises(e) {
		h.Ordinal++
	}
	if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_NOTICE {
		h.NoticeSeq = h.Seq
	}
	h.SentAt = max(h.SentAt, time.Now().UnixMilli())
	e.Seq, e.Ordinal = h.Seq, h.Ordinal
	e.MessageId = string(chat.NewMessageID(rand.Uint64(), h.Seq)) //nolint:gosec // unique, not secret
	e.SentAt = timestamppb.New(time.UnixMilli(h.SentAt))
	b.entries = append(b.entries, &flowv1.LogEntry{Entry: e, BodyHash: r.body})
	b.requests = append(b.requests, r)
	return h
}

// pace keeps the least time between the starts of two publishes.
func (a *appender) pace(ctx context.Context) {
	if wait := a.cfg.Pace - time.Since(a.started); wait > 0 && a.cfg.Pace > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	a.started = time.Now()
}

// failAll answers what is left when the loop ends.
func (a *appender) failAll(err error) {
	for _, r := range a.waiting {
		r.answer(Result{}, err)
	}
	for _, rs := range a.parked {
		for _, r := range rs {
			r.answer(Result{}, err)
		}
	}
	for {
		select {
		case r := <-a.queue:
			r.answer(Result{}, err)
		case pr := <-a.ready:
			pr.r.answer(Result{}, err)
		default:
			return
		}
	}
}
