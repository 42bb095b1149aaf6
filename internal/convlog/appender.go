package convlog

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// request is one call of Append on its way.
type request struct {
	draft        Draft
	conversation chat.ConversationID
	ctx          context.Context
	key          idKey
	body         uint64
	size         int
	lookedUp     bool // the database was asked for its id
	done         chan outcome
}

func (r *request) answer(res Result, err error) { r.done <- outcome{res, err} }

type outcome struct {
	Result
	err error
}

// prepared is a request that comes back from the database: with its head, its earlier entry, or an error.
type prepared struct {
	r     *request
	head  *Head
	found *flowv1.LogEntry
	err   error
}

// inflight is the batch that is being published.
type inflight struct {
	id        BatchID
	data      []byte
	entries   []*flowv1.LogEntry
	requests  []*request
	expect    uint64
	committed uint64 // its position, once seen in the log
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
}

// lookups bounds how many questions a partition asks the database at a time.
const lookups = 16

func newAppender(p *partition) *appender {
	return &appender{
		partition: p, parked: map[chat.ConversationID][]*request{}, asking: map[chat.ConversationID]bool{},
		slots: make(chan struct{}, lookups),
	}
}

// loop appends until ctx ends. An error means that the stream lost what was read of it: the process starts anew.
func (a *appender) loop(ctx context.Context) error {
	tick := time.NewTicker(a.cfg.MarkEvery)
	defer tick.Stop()
	defer a.failAll(overloaded("the server is stopping"))
	for ctx.Err() == nil {
		if len(a.waiting) == 0 {
			a.idle(ctx, tick.C)
		}
		a.drain(ctx, tick.C)
		if b := a.gather(ctx); b != nil {
			a.pace(ctx)
			if err := a.publish(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// idle waits for work of any kind.
func (a *appender) idle(ctx context.Context, tick <-chan time.Time) {
	select {
	case <-ctx.Done():
	case r := <-a.queue:
		a.waiting = append(a.waiting, r)
	case pr := <-a.ready:
		a.resume(pr)
	case <-a.behind:
		a.follow(ctx)
	case <-tick:
		a.readMark(ctx)
	}
}

// drain takes what has arrived, without waiting: the next batch is what came while the last one was published.
func (a *appender) drain(ctx context.Context, tick <-chan time.Time) {
	for len(a.waiting) < a.cfg.BatchEntries {
		select {
		case r := <-a.queue:
			a.waiting = append(a.waiting, r)
		case pr := <-a.ready:
			a.resume(pr)
		case <-a.behind:
			a.follow(ctx)
		case <-tick:
			a.readMark(ctx)
		default:
			return
		}
	}
}

// follow catches up for a reader.
func (a *appender) follow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PublishTimeout)
	defer cancel()
	if err := a.catchUp(ctx, nil); err != nil && ctx.Err() == nil {
		a.log.WarnContext(ctx, "catching up failed, the next reader retries", "err", err)
	}
}

// readMark learns what is stored; it runs between batches and never delays one by more than a point read.
func (a *appender) readMark(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PublishTimeout)
	defer cancel()
	mark, err := a.stored.Mark(ctx, a.index)
	if err != nil {
		a.log.WarnContext(ctx, "the writer's mark cannot be read; what it stored stays in memory", "err", err)
		return
	}
	a.fold.trim(mark.Position)
}

// gather numbers waiting requests into a batch; nil if none could be. Requests that are done, repeated, stale or in
// need of the database leave the queue here.
func (a *appender) gather(ctx context.Context) *inflight {
	b := &inflight{expect: a.fold.at()}
	a.working, a.inBatch = map[chat.ConversationID]Head{}, map[idKey]bool{}
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
		b.answerAll(err)
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
		r.answer(Result{}, r.ctx.Err())
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
		if r.draft.Resend && !r.lookedUp {
			a.ask(ctx, r)
			return gone
		}
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

// ask sends r to the database, and what follows for its conversation behind it. The fold is caught up to here, so what
// it lacks is in the database, and what is committed meanwhile comes into the fold, which then wins (L3).
func (a *appender) ask(ctx context.Context, r *request) {
	a.asking[r.conversation] = true
	go func() {
		a.slots <- struct{}{}
		defer func() { <-a.slots }()
		pr := a.lookUp(r)
		select {
		case a.ready <- pr:
		case <-ctx.Done():
			r.answer(Result{}, overloaded("the server is stopping"))
		}
	}()
}

func (a *appender) lookUp(r *request) prepared {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), a.cfg.PublishTimeout)
	defer cancel()
	pr := prepared{r: r}
	if r.draft.Resend && !r.lookedUp && r.draft.Entry.GetClientMsgId() != "" {
		if pr.found, pr.err = a.find(ctx, r); pr.err != nil || pr.found != nil {
			return pr
		}
	}
	h, err := a.stored.Head(ctx, r.conversation)
	pr.head, pr.err = &h, err
	return pr
}

// find looks for an id that is not remembered: first among what is not stored, then in the database (L4).
func (a *appender) find(ctx context.Context, r *request) (*flowv1.LogEntry, error) {
	sender, id := r.draft.Entry.GetSenderId(), r.draft.Entry.GetClientMsgId()
	tail, err := a.unstoredOf(ctx, r.conversation, 1, ^uint64(0))
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(tail) {
		if e.GetEntry().GetSenderId() == sender && e.GetEntry().GetClientMsgId() == id {
			return e, nil
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
	pr.r.lookedUp = true
	front := []*request{pr.r}
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
	default:
		a.fold.settle(c, *pr.head)
	}
	a.waiting = slices.Concat(front, behind, a.waiting)
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

// publish appends b behind the position it was numbered for and does not return before its outcome is certain, or
// nobody waits for it any more. Only what was seen in the log is acknowledged (L1); after an unknown outcome the log
// is read, and the same bytes are offered again under the same fence (L2).
func (a *appender) publish(ctx context.Context, b *inflight) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := a.attempt(ctx, b)
		switch {
		case err == nil:
			a.commit(b)
			return nil
		case errors.Is(err, backbone.ErrFull):
			a.alarm("log_full")
			b.answerAll(fault.Wrap(err, fault.LogFull, "the log has no space; nothing was stored").After(5 * time.Second))
			return nil
		case errors.Is(err, backbone.ErrRefused):
			b.answerAll(err)
			return nil
		}
		known := a.catchUp(ctx, b)
		switch {
		case b.committed != 0:
			b.answerCommitted()
			return nil
		case known == nil && a.fold.at() != b.expect:
			a.waiting = append(b.requests, a.waiting...) // another was faster: number again
			return nil
		case errors.Is(known, errShrank):
			a.alarm("log_shrank")
			b.answerAll(fault.Wrap(known, fault.OutcomeUnknown, "the log was set back; repeat with the same clientMsgId").After(time.Second))
			return known
		}
		if ctx.Err() != nil || b.abandoned() {
			b.answerAll(fault.Wrap(err, fault.OutcomeUnknown, "the log does not answer; repeat with the same clientMsgId").After(time.Second))
			return nil
		}
		a.log.WarnContext(ctx, "an append has no known outcome, trying again", "err", err, "read", known, "entries", len(b.entries))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (a *appender) attempt(ctx context.Context, b *inflight) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PublishTimeout)
	defer cancel()
	seq, err := a.stream.Append(ctx, b.data, b.expect)
	if err == nil {
		b.committed = seq
	}
	return err
}

// commit folds the batch in and acknowledges it.
func (a *appender) commit(b *inflight) {
	a.fold.apply(b.committed, time.Now(), b.entries, len(b.data))
	b.answerCommitted()
}

func (b *inflight) answerCommitted() {
	for i, r := range b.requests {
		e := b.entries[i].GetEntry()
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
