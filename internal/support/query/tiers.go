package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/permit"
)

// spareWithin is how long the database may take where the log's tail alone makes a page.
const spareWithin = 3 * time.Second

// errTorn says that what the database has does not reach up to where the log's tail begins.
var errTorn = errors.New("query: the stored entries do not reach up to the tail")

// between reads at most limit entries of both tiers, whoever may see what. What the tail has whole is not asked of the
// database. If the database is away a page back from the end has what the tail has, and more says that there is more;
// everything else is then an error.
//
// A primary that was replaced without knowing it yet may lack what the mark says is stored. So a page whose parts do not
// join up is read once more, and then is an error: a client that was told of a range does not ask for it again.
func (s *Service) between(ctx context.Context, scope permit.Scope, from, to uint64, limit int, newest bool) (entries []*messagev1.Entry, more bool, err error) {
	from, to = max(from, scope.First()), scope.Last(to)
	if from > to {
		return nil, false, nil
	}
	r := seqRange{scope.Conversation, from, to, limit, newest}
	if entries, more, err = s.read(ctx, r, 0); errors.Is(err, errTorn) {
		entries, more, err = s.again(ctx, r)
	}
	if errors.Is(err, errTorn) {
		err = fault.Wrap(err, fault.Overloaded, "the database is behind").After(time.Second)
	}
	return entries, more, err
}

// again reads once more, and passes over what is missing below the stored head: somebody has deleted it. As the head is
// stored after its entries and asked for before them, who knows it knows them.
func (s *Service) again(ctx context.Context, r seqRange) (entries []*messagev1.Entry, more bool, err error) {
	heads, err := s.db.Heads(ctx, []chat.ConversationID{r.conversation})
	if err != nil {
		return nil, false, s.unread(ctx, err, "read the head of %s", r.conversation)
	}
	var head uint64
	for _, h := range heads {
		head = h.Seq
	}
	return s.read(ctx, r, head)
}

// seqRange asks for entries between two seqs, both included: at most limit, the newest ones if newest, else the oldest.
type seqRange struct {
	conversation chat.ConversationID
	from, to     uint64
	limit        int
	newest       bool
}

// read reads the log's tail first: an entry that the writer stores meanwhile is then in both tiers. Up to head entries may
// be missing in the database.
func (s *Service) read(ctx context.Context, r seqRange, head uint64) (entries []*messagev1.Entry, more bool, err error) {
	tail, err := s.messages.ReadTail(ctx, &messagev1.ReadTailRequest{
		ConversationId: string(r.conversation), FromSeq: r.from, ToSeq: r.to, Limit: uint32(r.limit), Newest: r.newest,
	})
	if err != nil {
		return nil, false, err
	}
	unstored := tail.GetHeadSeq() > 0
	if unstored && (tail.GetTailFrom() <= r.from || r.newest && len(tail.GetEntries()) >= r.limit) {
		return tail.GetEntries(), false, nil
	}
	spare := r.newest && len(tail.GetEntries()) > 0
	stored, err := s.stored(ctx, r, spare)
	if err != nil {
		if spare && ctx.Err() == nil {
			s.quietly(ctx, "the database does not answer, what it lacks does", err)
			return tail.GetEntries(), true, nil
		}
		return nil, false, err
	}
	if unstored {
		stored, err = join(r, stored, tail, head)
	}
	if len(stored) > r.limit && r.newest {
		return stored[len(stored)-r.limit:], false, err
	}
	return stored[:min(r.limit, len(stored))], false, err
}

// join puts the tail behind what is stored. The tail is complete from TailFrom on, so of that nothing is taken from the
// database, which may have only some of a batch that is being stored.
func join(r seqRange, stored []*messagev1.Entry, tail *messagev1.ReadTailResponse, head uint64) ([]*messagev1.Entry, error) {
	n := len(stored)
	for n > 0 && stored[n-1].GetSeq() >= tail.GetTailFrom() {
		n--
	}
	last := r.from - 1
	if stored = stored[:n]; n > 0 {
		last = stored[n-1].GetSeq()
	}
	end := min(tail.GetTailFrom()-1, r.to)
	if max(last, head) < end && (r.newest || n < r.limit) {
		return nil, fmt.Errorf("%w: %s ends at seq %d, the tail begins behind %d", errTorn, r.conversation, last, end)
	}
	return append(stored, tail.GetEntries()...), nil
}

// stored reads the database, which has less time if the tail will do.
func (s *Service) stored(ctx context.Context, r seqRange, spare bool) ([]*messagev1.Entry, error) {
	if spare {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, spareWithin)
		defer cancel()
	}
	rows, err := s.db.Range(ctx, r.conversation, r.from, r.to, r.limit, r.newest)
	if err != nil {
		return nil, s.unread(ctx, err, "read %s from %d to %d", r.conversation, r.from, r.to)
	}
	entries := make([]*messagev1.Entry, 0, len(rows)+1)
	for _, row := range rows {
		e, err := decode(row)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// unread is the error of a database that did not answer: that of a reader who waits no longer, else one that says to come
// again. What made it so is told to the log.
func (s *Service) unread(ctx context.Context, err error, format string, args ...any) error {
	err = fmt.Errorf(format+": %w", append(args, err)...)
	if ctx.Err() != nil || fault.Of(err).Reason != fault.InternalReason {
		return err
	}
	s.quietly(ctx, "the database does not answer", err)
	return fault.Wrap(err, fault.Overloaded, "what is stored cannot be read now").After(time.Second)
}

// quietly logs what an outage can cause at will.
func (s *Service) quietly(ctx context.Context, msg string, err error) {
	if n, ok := s.quiet.Allow(msg); ok {
		s.log.WarnContext(ctx, msg, obs.Err, err, obs.Suppressed, n) //nolint:sloglint // each caller passes a constant
	}
}
