package orchestrator

import (
	"context"
	"fmt"
	"strconv"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// reader follows one partition. Its handle is called by one goroutine at a time.
type reader struct {
	s         *Service
	partition int
	log       backbone.Log
	out       outlets
	members   *members

	incarnation string // of the log; asked again when the reader is set back
	last        uint64 // position of the last message that was handled
}

func (s *Service) newReader(partition int, l backbone.Log, out outlets) *reader {
	limit := max(1, s.cfg.MemberIDs/max(1, s.deps.Partitions))
	return &reader{s: s, partition: partition, log: l, out: out, members: newMembers(limit, s.loadMembers)}
}

func (r *reader) follow(ctx context.Context) error {
	return r.log.Follow(ctx, backbone.Reader{
		Name:     ReaderName,
		MaxBatch: r.s.cfg.Run,
		Handle:   r.handle,
		Failed: func(err error, try int) {
			r.s.m.failures.Inc()
			if n, ok := r.s.quiet.Allow("failed " + strconv.Itoa(r.partition)); ok {
				r.s.log.WarnContext(ctx, "delivery of a run failed, it is tried again",
					obs.Partition, r.partition, obs.AttemptNo, try, obs.Err, err, obs.Suppressed, n)
			}
		},
	})
}

// handle sees to it that the tasks of all entries of a run are stored.
func (r *reader) handle(ctx context.Context, run []backbone.Message) error {
	if err := r.know(ctx, run[0].Seq); err != nil {
		return err
	}
	p := &plan{}
	for _, m := range run {
		if err := r.take(ctx, p, m); err != nil {
			return err
		}
	}
	if err := r.flush(ctx, p); err != nil {
		return err
	}
	r.last = run[len(run)-1].Seq
	return nil
}

// know asks which incarnation of the log this is: at first, and when positions do not follow those that were there
// before, as another instance may have read meanwhile, and of a new log. It is part of the tasks' ids, so that those of a
// new log are not taken for repetitions of an old one's.
func (r *reader) know(ctx context.Context, first uint64) error {
	if r.incarnation != "" && first == r.last+1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.s.cfg.CallTimeout)
	defer cancel()
	info, err := r.log.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask which log partition %d is: %w", r.partition, err)
	}
	r.incarnation = info.Incarnation
	return nil
}

// take resolves the recipients of one batch and puts its entries on the plan.
func (r *reader) take(ctx context.Context, p *plan, m backbone.Message) error {
	_, entries, err := convlog.DecodeBatch(m.Data)
	if err != nil {
		r.s.m.alarm.WithLabelValues("corrupt_batch").Inc()
		if n, ok := r.s.quiet.Allow("corrupt"); ok {
			r.s.log.ErrorContext(ctx, "a message of the log is no batch; it is passed",
				obs.Partition, r.partition, obs.StreamSeq, m.Seq, obs.Err, err, obs.Suppressed, n)
		}
		return nil
	}
	for i, e := range entries {
		if p.full() {
			if err := r.flush(ctx, p); err != nil {
				return err
			}
		}
		if err := r.add(ctx, p, e, place{m.Seq, i}); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) add(ctx context.Context, p *plan, e *flowv1.LogEntry, at place) error {
	entry := e.GetEntry()
	users, err := r.recipients(ctx, entry)
	if err != nil {
		return err
	}
	p.add(delivery{entry: entry, at: at, users: users})
	return nil
}

func (r *reader) recipients(ctx context.Context, e *messagev1.Entry) ([]chat.UserID, error) {
	c := chat.ConversationID(e.GetConversationId())
	switch c.Kind() {
	case chat.KindDirect:
		a, b := c.Users()
		return []chat.UserID{a, b}, nil
	case chat.KindInbox:
		return []chat.UserID{c.Owner()}, nil
	case chat.KindGroup:
		return r.members.recipients(ctx, c.Group(), e)
	case chat.KindNone: // DecodeBatch lets none pass
	}
	return nil, nil
}

// flush stores the tasks of what is on the plan and empties it.
func (r *reader) flush(ctx context.Context, p *plan) error {
	if len(p.deliveries) == 0 {
		return nil
	}
	began := time.Now()
	if err := r.s.withhold(ctx, p); err != nil {
		return err
	}
	online, err := r.s.lookup(ctx, p.users())
	if err != nil {
		return err
	}
	decided := time.Now()
	if err := r.out.publish(ctx, p.tasks(online, origin{r.incarnation, r.partition})); err != nil {
		return err
	}
	r.s.m.entries.Add(float64(len(p.deliveries)))
	if at := p.deliveries[0].entry.GetSentAt(); at != nil {
		r.s.m.lag.Observe(time.Since(at.AsTime()).Seconds())
	}
	r.s.remember(p, online, decided)
	for _, d := range p.deliveries {
		r.s.deps.Trace.Passed(ctx, r.s.log, "orchestrated", d.entry.GetMessageId(), began)
	}
	*p = plan{}
	return nil
}
