package convlog

import (
	"context"
	"slices"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// lookups bounds how many questions a partition asks the database at a time.
const lookups = 16

// prepared is a request that comes back from the database: with its head, its earlier entry, or an error.
type prepared struct {
	r     *request
	asked moment
	head  *Head
	found *flowv1.LogEntry
	err   error
}

// ask sends r to the database, and what follows for its conversation behind it. The fold is caught up to here, so what
// it lacks is in the database, and what is committed meanwhile comes into the fold, which keeps the head until the
// answer is there, and then wins (L3).
func (a *appender) ask(ctx context.Context, r *request) {
	a.asking[r.conversation] = true
	asked := a.fold.asking(r.conversation)
	a.work.Go(func() {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-ctx.Done():
			r.answer(Result{}, overloaded("the server is stopping"))
			return
		}
		pr := a.lookUp(ctx, r, asked)
		select {
		case a.ready <- pr:
		case <-ctx.Done():
			r.answer(Result{}, overloaded("the server is stopping"))
		}
	})
}

// lookUp goes on when the caller of r gives up, as others wait behind it, but not when the loop ends.
func (a *appender) lookUp(loop context.Context, r *request, asked moment) prepared {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), a.cfg.PublishTimeout)
	defer cancel()
	defer context.AfterFunc(loop, cancel)()
	pr := prepared{r: r, asked: asked}
	if r.draft.Resend && !a.fold.remembersSince(r.lookedUp) && r.draft.Entry.GetClientMsgId() != "" {
		if pr.found, pr.err = a.find(ctx, r); pr.err != nil || pr.found != nil {
			return pr
		}
	}
	h, err := a.stored.Head(ctx, r.conversation)
	if pr.err = err; err == nil {
		pr.head = &h
	}
	return pr
}

// find looks for an id that is not remembered: first among what is not stored, then in the database (L4).
func (a *appender) find(ctx context.Context, r *request) (*flowv1.LogEntry, error) {
	sender, id := r.draft.Entry.GetSenderId(), r.draft.Entry.GetClientMsgId()
	places, _ := a.fold.placesOf(r.conversation, 1, ^uint64(0))
	for _, pl := range slices.Backward(places) {
		entries, err := a.batchAt(ctx, pl.position)
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Backward(entries) {
			e, le := e.GetEntry(), e
			if e.GetConversationId() == string(r.conversation) && e.GetSenderId() == sender && e.GetClientMsgId() == id {
				return le, nil
			}
		}
	}
	return a.stored.Find(ctx, chat.UserID(sender), r.conversation, id)
}

// resume takes a request back from the database; it and those behind it go to the front, in order.
func (a *appender) resume(pr prepared) {
	c := pr.r.conversation
	delete(a.asking, c)
	behind := a.parked[c]
	delete(a.parked, c)
	pr.r.lookedUp = &pr.asked
	front := []*request{pr.r}
	a.fold.settle(c, pr.head, pr.asked)
	switch {
	case pr.err != nil:
		pr.r.answer(Result{}, fault.Wrap(pr.err, fault.Overloaded, "the database does not answer").After(time.Second))
		front = nil
	case pr.found != nil:
		e := pr.found.GetEntry()
		pr.r.answer(repeated(remembered{
			random: chat.MessageID(e.GetMessageId()).Random(), seq: e.GetSeq(), ordinal: e.GetOrdinal(),
			sentAt: e.GetSentAt().AsTime().UnixMilli(), body: pr.found.GetBodyHash(),
		}, pr.r.body))
		front = nil
	}
	a.waiting = slices.Concat(front, behind, a.waiting)
}
