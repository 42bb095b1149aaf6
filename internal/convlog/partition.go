package convlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// errPurged says that messages were purged while they were about to be read. Another try passes them.
var errPurged = errors.New("convlog: messages were purged while they were read")

// errGap says that the database stands before the log.
var errGap = errors.New("convlog: batches are missing between the database and the log: an older back-up of the database was put back; put back a newer one, or see 'oceanchat recover'")

// partition is one stream with its fold and its appender. The loop goroutine alone publishes and folds.
type partition struct {
	cfg    Config
	index  int
	stream backbone.Log
	stored Stored
	log    *slog.Logger
	alarm  func(kind string)

	fold   *fold
	inside atomic.Int64  // requests that are not answered
	queue  chan *request // from Append
	ready  chan prepared // a request whose head or id was looked up
	behind chan struct{} // a reader saw that the stream is ahead
	booted chan struct{} // closed when everything that was in the stream at the start is folded in
	ended  chan struct{} // closed when the loop ends
	under  atomic.Pointer[publishing]
	unsure atomic.Bool // an attempt may be stored, or may still come to be, that is not folded in

	id    BatchID // of this appender; the last 8 bytes count
	count uint64
	info  *coalesced[backbone.LogInfo]
}

func newPartition(cfg Config, n int, s backbone.Log, stored Stored, log *slog.Logger, alarm func(string)) *partition {
	p := &partition{
		cfg: cfg, index: n, stream: s, stored: stored, log: log, alarm: alarm,
		fold:   newFold(cfg),
		queue:  make(chan *request, cfg.Queue),
		ready:  make(chan prepared, 64),
		behind: make(chan struct{}, 1),
		booted: make(chan struct{}),
		ended:  make(chan struct{}),
	}
	_, _ = rand.Read(p.id[:8])
	p.info = newCoalesced(func(ctx context.Context) (backbone.LogInfo, error) {
		ctx, cancel := context.WithTimeout(ctx, cfg.PublishTimeout)
		defer cancel()
		return s.Info(ctx)
	})
	return p
}

// run boots and then appends until ctx ends.
func (p *partition) run(ctx context.Context, ready func()) error {
	defer close(p.ended)
	mark, err := p.boot(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("catch up with the log: %w", err)
	}
	close(p.booted)
	ready()
	err = newAppender(p, mark).loop(ctx)
	if errors.Is(err, errSetBack) {
		err = errors.Join(err, p.raise(ctx))
	}
	return err
}

// boot brings the mark and the log together and folds what is not stored, and the ids of the last minutes.
func (p *partition) boot(ctx context.Context) (Mark, error) {
	info, mark, err := p.reconcile(ctx)
	if err != nil {
		return mark, err
	}
	from, err := p.foldFrom(ctx, info, mark)
	if err != nil {
		return mark, err
	}
	p.fold.begin(info.Incarnation, from-1, mark.Position)
	start := time.Now()
	err = p.read(ctx, from, info.Last, nil)
	for err == nil && p.fold.at() < info.Last || errors.Is(err, errPurged) { // it was purged meanwhile
		err = p.catchUp(ctx, nil)
	}
	if err != nil {
		return mark, err
	}
	p.log.InfoContext(ctx, "log caught up", "from", from, "position", p.fold.at(), "stored", mark.Position, "took", time.Since(start))
	return mark, nil
}

// reconcile compares the log with the mark of what is stored. A log that is new or stands behind its mark has lost
// what the database has: the epoch is raised, once, before anything is appended (L7). The mark is read first: what
// others append and store meanwhile must not look like a log that is short of it.
func (p *partition) reconcile(ctx context.Context) (backbone.LogInfo, Mark, error) {
	for {
		mark, err := p.stored.Mark(ctx, p.index)
		if err != nil {
			return backbone.LogInfo{}, mark, fmt.Errorf("read the writer's mark: %w", err)
		}
		info, err := p.stream.Info(ctx)
		if err != nil {
			return info, mark, fmt.Errorf("ask for the stream's state: %w", err)
		}
		if !fits(mark, info) && mark != (Mark{}) {
			if info, err = p.confirmed(ctx); err != nil {
				return info, mark, err
			}
		}
		if n := Missing(mark, info); n > 0 {
			if err := p.refuse(ctx, mark, info, n); err != nil {
				return info, mark, err
			}
			continue
		}
		if fits(mark, info) {
			return info, mark, nil
		}
		to, raise := Mark{Incarnation: info.Incarnation}, mark != Mark{}
		if mark.Incarnation == info.Incarnation {
			to.Position = info.Last
		}
		moved, err := p.stored.MoveMark(ctx, p.index, mark, to, raise)
		if err != nil {
			return info, mark, fmt.Errorf("move the writer's mark: %w", err)
		}
		if moved && raise {
			p.alarm("epoch_raised")
			p.log.WarnContext(ctx, "the log is new or stands behind the database: epoch raised",
				"log", info.Last, "stored", mark.Position, "incarnation", info.Incarnation)
		}
	}
}

// refuse refuses a log of which more was purged than is stored. The writer never purges that much, so the database is an
// older one than the log has seen, and others' numbers would be given again (L7). It returns nil if the mark has moved
// meanwhile: what it did not know was stored, and then purged.
func (p *partition) refuse(ctx context.Context, mark Mark, info backbone.LogInfo, missing uint64) error {
	now, err := p.stored.Mark(ctx, p.index)
	if err != nil {
		return fmt.Errorf("read the writer's mark: %w", err)
	}
	if now != mark {
		return nil
	}
	return fmt.Errorf("%w: the log begins at %d, of it is stored up to %d", errGap, info.First, info.First-1-missing)
}

// foldFrom returns the first position to fold: what is not stored, enough for the remembered ids, and the last message, by
// which the log is known again.
func (p *partition) foldFrom(ctx context.Context, info backbone.LogInfo, mark Mark) (uint64, error) {
	since, err := p.stream.SeqAt(ctx, time.Now().Add(-p.cfg.IDsFor))
	if err != nil {
		return 0, fmt.Errorf("find the ids' first position: %w", err)
	}
	if ids := uint64(p.cfg.IDs); info.Last > ids {
		since = max(since, info.Last-ids+1)
	}
	return max(1, info.First, min(since, mark.Position+1, info.Last)), nil
}

// read folds the messages from and to inclusive. A batch named own is reported by its position.
func (p *partition) read(ctx context.Context, from, to uint64, own *inflight) error {
	if from > to {
		return nil
	}
	return p.stream.Read(ctx, from, to, func(m backbone.Message) error {
		p.take(ctx, m, own)
		return nil
	})
}

func (p *partition) take(ctx context.Context, m backbone.Message, own *inflight) {
	id, entries, err := DecodeBatch(m.Data)
	if err != nil {
		p.alarm("corrupt_batch")
		p.log.ErrorContext(ctx, "a message of the log is no batch; it is passed", "position", m.Seq, "err", err)
		p.fold.skip(m.Seq)
		return
	}
	if own != nil && id == own.id {
		own.committed = m.Seq
	}
	p.fold.apply(m.Seq, m.Time, id, entries, len(m.Data))
}

// catchUp folds everything that the stream's leader has.
func (p *partition) catchUp(ctx context.Context, own *inflight) error {
	info, err := p.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask for the stream's state: %w", err)
	}
	goesOn, err := p.goesOn(ctx, info)
	if err == nil && !goesOn {
		if info, err = p.confirmed(ctx); err == nil {
			goesOn, err = p.goesOn(ctx, info)
		}
	}
	if err != nil {
		return err
	}
	least, at, _, _ := p.fold.end()
	if !goesOn {
		return fmt.Errorf("%w: it is %+v, read to %d, known to have had %+v", errSetBack, info, at, least)
	}
	if gap := info.First > at+1; gap || at > 0 && info.First > at && info.Last > at {
		p.fold.beginAnew(info.First - 1)
	}
	from := p.fold.at() + 1
	if info.Last > from+32 {
		err = p.read(ctx, from, info.Last, own)
	} else {
		err = p.get(ctx, from, info.Last, own)
	}
	if err == nil && p.fold.at() < info.Last {
		err = errPurged
	}
	return err
}

// get is read for a few messages.
func (p *partition) get(ctx context.Context, from, to uint64, own *inflight) error {
	for at := from; at <= to; at++ {
		m, err := p.stream.Get(ctx, at)
		if errors.Is(err, backbone.ErrNotFound) {
			return errPurged
		}
		if err != nil {
			return fmt.Errorf("read position %d: %w", at, err)
		}
		p.take(ctx, m, own)
	}
	return nil
}

// sync returns the position once the fold has everything that was acknowledged before the call, by whichever appender.
func (p *partition) sync(ctx context.Context) (uint64, error) {
	if p.cfg.Sole {
		if at, ok, err := p.ownEnd(ctx); ok || err != nil {
			return at, err
		}
	}
	for {
		at := p.fold.at()
		info, err := p.info.do(ctx)
		if err != nil {
			return 0, fault.Wrap(err, fault.Overloaded, "the log does not answer").After(time.Second)
		}
		log := p.fold.logOf()
		same := log == "" || log == info.Incarnation && at <= info.Last
		if same && p.fold.at() >= info.Last {
			return p.fold.at(), nil
		}
		select {
		case p.behind <- struct{}{}:
		default:
		}
		if same && p.fold.wait(info.Last, ctx.Done(), p.ended) {
			return p.fold.at(), nil
		}
		if same || !p.judged(ctx) {
			return 0, fault.Wrap(ctx.Err(), fault.Overloaded, "the log is behind").After(time.Second)
		}
	}
}

// publishing is a first attempt to publish that is under way; landed is closed when it is folded in, or has failed.
type publishing struct{ landed chan struct{} }

// ownEnd is sync for the only appender (L6): all that is in the stream is folded in, but for what is under way. It
// answers false when an attempt failed and may be stored all the same.
func (p *partition) ownEnd(ctx context.Context) (at uint64, ok bool, err error) {
	landed := p.booted
	if f := p.under.Load(); f != nil {
		landed = f.landed
	}
	select {
	case <-landed:
	case <-p.ended:
	case <-ctx.Done():
		return 0, false, fault.Wrap(ctx.Err(), fault.Overloaded, "the log does not answer").After(time.Second)
	}
	select {
	case <-p.ended:
		return 0, false, overloaded("the log has ended")
	default:
		return p.fold.at(), !p.unsure.Load(), nil
	}
}

// append queues d and waits for its outcome.
func (p *partition) append(ctx context.Context, d Draft) (Result, error) {
	r := &request{
		draft: d, ctx: ctx, done: make(chan outcome, 1), inside: &p.inside, size: draftSize(d.Entry), body: d.Hash, came: time.Now(),
	}
	if r.body == 0 {
		r.body = BodyHash(d.Entry)
	}
	r.conversation = chat.ConversationID(d.Entry.GetConversationId())
	if d.Entry.GetClientMsgId() != "" {
		r.key = p.fold.ids.key(chat.UserID(d.Entry.GetSenderId()), r.conversation, d.Entry.GetClientMsgId())
	}
	if d.Known { // nothing fences an answer that appends nothing: what others have appended must be known first (L4)
		if _, err := p.sync(ctx); err != nil {
			return Result{}, fault.Wrap(err, fault.OutcomeUnknown, "the log does not answer; repeat with the same clientMsgId").After(time.Second)
		}
	}
	if p.inside.Add(1) > int64(p.cfg.Queue) {
		p.inside.Add(-1)
		return Result{}, overloaded("too many messages wait for the log")
	}
	select {
	case <-p.ended:
		return Result{}, overloaded("the server is stopping")
	default:
		p.queue <- r // it has room for all that are inside
	}
	select {
	case o := <-r.done:
		return o.Result, o.err
	case <-p.ended:
	case <-ctx.Done():
	}
	select { // the outcome may have come meanwhile
	case o := <-r.done:
		return o.Result, o.err
	default:
		return Result{}, errGaveUp()
	}
}

// errGaveUp answers who did not wait for the outcome.
func errGaveUp() error {
	return fault.New(fault.OutcomeUnknown, "the log did not answer in time; repeat with the same clientMsgId").After(time.Second)
}

// nextBatchID names the next attempt.
func (p *partition) nextBatchID() BatchID {
	p.count++
	id := p.id
	binary.BigEndian.PutUint64(id[8:], p.count)
	return id
}
