// Package convlog is the log: every conversation is an ordered list of entries, numbered without a gap, and what was
// acknowledged stays. It owns the batch format, the fold, the appender and the reading of what is not stored yet. It
// never writes to the database; it reads heads and ids there when memory lacks them. docs/log.md holds the argument
// why no acknowledged entry can be lost, doubled or renumbered (invariants 1 to 3); its steps are named in the code
// as L1, L2 and so on.
package convlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// ErrStalePermit says that a notice was appended after the permission was given: ask again, then append again.
var ErrStalePermit = errors.New("convlog: the permission is older than the newest notice")

// Config bounds the log. All counts and sizes are per partition.
type Config struct {
	Partitions     int           // number of partitions
	BatchEntries   int           // entries in a batch
	BatchBytes     int           // bytes in a batch
	Pace           time.Duration // least time between the starts of two publishes
	PublishTimeout time.Duration // one attempt to publish
	Queue          int           // appends that wait; above it OVERLOADED
	Wait           time.Duration // how long an append may wait for the appender; then OVERLOADED
	IDs            int           // remembered clientMsgIds
	IDsFor         time.Duration // how long they are remembered
	Heads          int           // heads in memory, but for those that are not stored
	RecentBytes    int64         // decoded entries that are not stored, kept for reading
	MarkEvery      time.Duration // how often the writer's mark is read
	LookEvery      time.Duration // how often an appender that appends nothing looks at the stream's end
	// Sole says that nobody else appends to these streams, as in one process. Then what was acknowledged is in memory,
	// and readers need not ask the stream where it ends.
	Sole bool

	Metrics *Metrics          // nil: nothing is counted
	Trace   *obs.Tracer       // nil: nothing is traced
	Journey *journey.Recorder // nil: where messages went is not remembered
}

// Defaults returns the configuration that docs/performance.md measures, for a number of partitions.
func Defaults(partitions int) Config {
	return Config{
		Partitions: partitions, BatchEntries: 256, BatchBytes: 256 << 10,
		PublishTimeout: 5 * time.Second, Queue: 8192, Wait: 5 * time.Second, IDs: 250_000, IDsFor: 10 * time.Minute,
		Heads: 200_000, RecentBytes: 32 << 20, MarkEvery: 500 * time.Millisecond,
		LookEvery: 500 * time.Millisecond,
	}
}

// Mark says up to which position of which incarnation of a partition everything is stored.
type Mark struct {
	Incarnation string
	Position    uint64
}

// Stored is what the log reads of the database. Implementations are safe for concurrent use.
type Stored interface {
	// Head returns a conversation's stored head, zero if nothing is stored.
	Head(ctx context.Context, c chat.ConversationID) (Head, error)
	// Find returns the stored entry of (sender, conversation, clientMsgId), the newest if there are several, or nil.
	Find(ctx context.Context, sender chat.UserID, c chat.ConversationID, clientMsgID string) (*flowv1.LogEntry, error)
	// Mark returns a partition's mark, zero if nothing was ever stored.
	Mark(ctx context.Context, partition int) (Mark, error)
	// MoveMark sets it by compare-and-set and, if raise, raises the epoch; moved is false if it was not at from.
	MoveMark(ctx context.Context, partition int, from, to Mark, raise bool) (moved bool, err error)
	// Epoch returns the log's epoch, from 1.
	Epoch(ctx context.Context) (uint64, error)
}

// Draft is an entry to append: conversation, kind, sender, clientMsgId, body and replyTo are set, the rest is filled
// in by the log, which takes ownership.
type Draft struct {
	Entry *messagev1.Entry
	// Hash tells bodies under the same clientMsgId apart; 0 means BodyHash of Entry. It is for entries that do not hold
	// what the client sent: a repetition that sends the same must get the same, whatever is made of it meanwhile.
	Hash uint64
	// Resend says that an earlier attempt may have been committed: an id that is not remembered is looked up.
	Resend bool
	// Known says that nothing new may be appended: only what an earlier attempt committed is answered, and else it is
	// ErrStalePermit. It is for a Resend by a sender who may write no more.
	Known bool
	// Permit is the seq of the newest notice that the sender's permission takes into account. Any is for entries that
	// need none.
	Permit uint64
}

// Any is the Permit of an entry that needs no permission.
const Any = ^uint64(0)

// Result says where an entry stands.
type Result struct {
	MessageID    chat.MessageID
	Seq, Ordinal uint64
	SentAt       time.Time
}

// Log appends to and reads from all partitions. It is safe for concurrent use; nothing works before Run.
type Log struct {
	parts  []*partition
	stored Stored
}

// New returns a Log over one stream per partition, in order.
func New(cfg Config, streams []backbone.Log, stored Stored, log *slog.Logger, alarm func(kind string)) *Log {
	l := &Log{stored: stored}
	for i, s := range streams {
		l.parts = append(l.parts, newPartition(cfg, i, s, stored, log.With("partition", i), alarm))
	}
	return l
}

// Run runs every partition until ctx ends; it calls ready once all are caught up.
func (l *Log) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var booted, ended sync.WaitGroup
	errs := make([]error, len(l.parts))
	for i, p := range l.parts {
		booted.Add(1)
		once := sync.OnceFunc(booted.Done)
		ended.Go(func() {
			defer once()
			if err := p.run(ctx, once); err != nil {
				errs[i] = fmt.Errorf("partition %d: %w", i, err)
				cancel()
			}
		})
	}
	booted.Wait()
	if ctx.Err() == nil {
		ready()
	}
	ended.Wait()
	return errors.Join(errs...)
}

func (l *Log) of(c chat.ConversationID) *partition { return l.parts[c.Partition(len(l.parts))] }

// Append appends d and returns when the log has it (commit). Faults: CLIENT_MSG_ID_REUSED, LOG_FULL, OVERLOADED, and
// OUTCOME_UNKNOWN when ctx ended first; ErrStalePermit. A repeated (sender, conversation, clientMsgId) gets the first
// one's Result.
func (l *Log) Append(ctx context.Context, d Draft) (Result, error) {
	c := chat.ConversationID(d.Entry.GetConversationId())
	if c.Kind() == chat.KindNone {
		return Result{}, fmt.Errorf("append to %q: no conversation", c)
	}
	return l.of(c).watched(ctx, d)
}

// Positions returns the epoch and the position of every partition, taken in this order: what a reader reads after it
// holds at least everything up to them.
func (l *Log) Positions(ctx context.Context) (epoch uint64, positions []uint64, err error) {
	if epoch, err = l.stored.Epoch(ctx); err != nil {
		return 0, nil, fmt.Errorf("read the epoch: %w", err)
	}
	for _, p := range l.parts {
		at, err := p.sync(ctx)
		if err != nil {
			return 0, nil, err
		}
		positions = append(positions, at)
	}
	return epoch, positions, nil
}

// draftSize is about what an entry takes in a batch, in bytes.
func draftSize(e *messagev1.Entry) int { return proto.Size(e) + 96 }

func overloaded(what string) error {
	return fault.New(fault.Overloaded, "%s", what).After(time.Second)
}
