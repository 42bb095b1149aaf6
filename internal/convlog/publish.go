package convlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// inflight is the batch that is being published.
type inflight struct {
	id        BatchID
	data      []byte
	entries   []*flowv1.LogEntry
	requests  []*request
	expect    uint64
	gaps      uint64 // of the fold when it was numbered
	committed uint64 // its position, once seen in the log
}

// dropBad answers the requests whose entries cannot be encoded, and returns the others.
func (b *inflight) dropBad(err error) []*request {
	var good []*request
	for i, r := range b.requests {
		if _, bad := EncodeBatch(b.id, b.entries[i:i+1]); bad == nil {
			good = append(good, r)
		} else {
			r.answer(Result{}, bad)
		}
	}
	if len(good) == len(b.requests) {
		b.answerAll(err)
		return nil
	}
	return good
}

// publish appends b behind the position it was numbered for and does not return before its outcome is certain, or
// nobody waits for it any more. Only what was seen in the log is acknowledged (L1); after an unknown outcome the log
// is read, and the same bytes are offered again under the same fence (L2).
func (a *appender) publish(ctx context.Context, b *inflight) error {
	tried := false // an earlier attempt has an unknown outcome
	f := &publishing{landed: make(chan struct{})}
	a.under.Store(f)
	land := sync.OnceFunc(func() { a.under.Store(nil); close(f.landed) })
	defer land()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := a.attempt(ctx, b, tried)
		if err == nil {
			return a.commit(b)
		}
		refused := errors.Is(err, backbone.ErrFull) || errors.Is(err, backbone.ErrRefused)
		if !backbone.Definite(err) {
			tried = true
			a.unsure.Store(true)
		}
		land()
		known := a.catchUp(ctx, b)
		a.blind = known != nil
		switch {
		case b.committed != 0:
			a.unsure.Store(false)
			a.answerCommitted(b)
			return nil
		case known == nil && a.fold.at() != b.expect:
			a.unsure.Store(false) // nothing that was numbered for that position can be stored any more
			a.numberAgain(b)
			return nil
		case errors.Is(known, errSetBack):
			return a.setBack(b, known)
		case refused && !tried && known == nil:
			a.refuse(b, err) // read to the end, so none of it is there
			return nil
		}
		if refused || ctx.Err() != nil || b.abandoned() {
			b.answerAll(fault.Wrap(err, fault.OutcomeUnknown, "the log does not answer; repeat with the same clientMsgId").After(time.Second))
			return nil
		}
		if known == nil && errors.Is(err, errLookFirst) {
			continue
		}
		a.log.WarnContext(ctx, "an append has no known outcome, trying again", "err", err, "read", known, "entries", len(b.entries))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// errLookFirst says that nothing was offered.
var errLookFirst = fmt.Errorf("convlog: look at the log first: %w", backbone.ErrConflict)

// attempt offers b to the stream once; tried says that it may have got there before. Who could not look at the log
// when it last tried to does so first, and so does who knows that the writer has stored more than was read here: it is
// that, and not only the expected sequence, that keeps a log that was set back from being filled again (L7).
func (a *appender) attempt(ctx context.Context, b *inflight, tried bool) error {
	if least, at, _, _ := a.fold.end(); !tried && (a.blind || least.Position > at) {
		return errLookFirst
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PublishTimeout)
	defer cancel()
	done := a.watch(ctx, b)
	seq, err := a.stream.Append(ctx, b.data, b.expect)
	done(err)
	if err == nil {
		b.committed = seq
	}
	return err
}

// numberAgain takes b apart after another appender was faster. If messages were purged unread meanwhile, b may have been
// among them; then it is stored, and its ids are looked for before anything is numbered again.
func (a *appender) numberAgain(b *inflight) {
	again := b.requests
	if a.fold.now().gaps != b.gaps {
		again = nil
		for _, r := range b.requests {
			if r.draft.Entry.GetClientMsgId() == "" {
				r.answer(Result{}, errGaveUp())
				continue
			}
			r.draft.Resend = true
			again = append(again, r)
		}
	}
	a.waiting = slices.Concat(again, a.waiting)
}

// refuse answers a batch of which certainly nothing was stored. A server that is full may say so before it looks at the
// expected sequence, so that alone does not tell that another appender was not faster with the same ids (L8).
func (a *appender) refuse(b *inflight, err error) {
	if errors.Is(err, backbone.ErrFull) {
		a.alarm("log_full")
		err = fault.Wrap(err, fault.LogFull, "the log has no space; nothing was stored").After(5 * time.Second)
	}
	b.answerAll(err)
}

func (a *appender) setBack(b *inflight, err error) error {
	a.alarm("log_set_back")
	b.answerAll(fault.Wrap(err, fault.OutcomeUnknown, "the log was set back; repeat with the same clientMsgId").After(time.Second))
	return err
}

// commit folds the batch in and acknowledges it.
func (a *appender) commit(b *inflight) error {
	if at := a.fold.at(); b.committed != at+1 {
		return a.setBack(b, fmt.Errorf("%w: a batch was stored at %d, read to %d", errSetBack, b.committed, at))
	}
	a.fold.apply(b.committed, time.Now(), b.id, b.entries, len(b.data))
	a.acked = true
	a.unsure.Store(false)
	a.answerCommitted(b)
	return nil
}

// answerCommitted acknowledges a batch that is in the log. Here a message's journey begins, also that of one whose
// sender no longer waits.
func (a *appender) answerCommitted(b *inflight) {
	now := time.Now()
	for i, r := range b.requests {
		e := b.entries[i].GetEntry()
		if a.cfg.Journey != nil {
			step := journey.Event{When: r.came, Message: e.GetMessageId(), Stage: journey.Accepted, User: e.GetSenderId(), Detail: obs.RequestOf(r.ctx)}
			a.cfg.Journey.Record(step)
			step.When, step.Stage, step.Detail = now, journey.Committed, e.GetConversationId()
			a.cfg.Journey.Record(step)
		}
		r.answer(Result{
			MessageID: chat.MessageID(e.GetMessageId()), Seq: e.GetSeq(), Ordinal: e.GetOrdinal(),
			SentAt: e.GetSentAt().AsTime(),
		}, nil)
	}
}

func (b *inflight) answerAll(err error) {
	for _, r := range b.requests {
		r.answer(Result{}, err)
	}
}

// abandoned reports whether nobody waits for the batch any more.
func (b *inflight) abandoned() bool {
	return !slices.ContainsFunc(b.requests, func(r *request) bool { return r.ctx.Err() == nil })
}
