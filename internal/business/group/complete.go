package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// settleRounds bounds how many changes that came in between are completed for one question.
const settleRounds = 16

// errAborted is what others see of an attempt that panicked.
var errAborted = errors.New("group: the attempt was aborted")

// errRefused says that the log will never take a change's notice; the change was undone.
var errRefused = errors.New("group: the log refused the notice")

// settle returns a group as it is once no change is pending. On an error it also returns the group as it was read, if
// it was.
func (s *Service) settle(ctx context.Context, id chat.GroupID) (store.Group, error) {
	g, err := s.load(ctx, id)
	if err != nil {
		return g, err
	}
	return s.settled(ctx, g)
}

// settled is settle for a group that was just read.
func (s *Service) settled(ctx context.Context, g store.Group) (store.Group, error) {
	for range settleRounds {
		if len(g.Pending) == 0 {
			return g, nil
		}
		c, err := decodeChange(g.Pending)
		if err != nil {
			if n, ok := s.quiet.Allow("unreadable"); ok {
				s.log.ErrorContext(ctx, "a pending change cannot be read", obs.GroupID, string(g.ID), obs.Err, err, obs.Suppressed, n)
			}
			return g, fault.Wrap(err, fault.Overloaded, "the group waits for a change to be completed").After(time.Second)
		}
		if err := s.complete(ctx, g, c); err != nil && !errors.Is(err, errRefused) {
			return g, err
		}
		now, err := s.load(ctx, g.ID)
		if err != nil {
			return g, err
		}
		g = now
	}
	return g, busy()
}

// current returns a group with every change whose notice is in the log (G1). It is settle but for a log that is full:
// LOG_FULL means that message looked the notice up, did not find it and could not store it. The group without the
// change is then the truth, so a full disk takes sends but not reading.
func (s *Service) current(ctx context.Context, id chat.GroupID) (store.Group, error) {
	g, err := s.load(ctx, id)
	if err != nil {
		return g, err
	}
	return s.currentOf(ctx, g)
}

// currentOf is current for a group that was just read.
func (s *Service) currentOf(ctx context.Context, g store.Group) (store.Group, error) {
	g, err := s.settled(ctx, g)
	if fault.IsReason(err, fault.LogFull) {
		return g, nil
	}
	return g, err
}

func (s *Service) load(ctx context.Context, id chat.GroupID) (store.Group, error) {
	gs, err := s.groups.Get(ctx, []chat.GroupID{id})
	if err != nil {
		return store.Group{}, fmt.Errorf("load group %s: %w", id, err)
	}
	if len(gs) == 0 {
		return store.Group{}, notFound()
	}
	return gs[0], nil
}

// complete takes a change that g has pending to its end. All who want the same change at the same time in this
// process share one attempt, which no longer depends on whoever began it. nil means that the notice is in the log and
// the effect stored, by whomever.
func (s *Service) complete(ctx context.Context, g store.Group, c *change) error {
	for again := false; ; again = true {
		f, mine := s.flights.join(c.ID)
		if mine {
			return s.fly(ctx, f, g, c)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		// A failure may be older than the question; that of an attempt which began after it is not.
		if f.err == nil || again {
			return f.err
		}
	}
}

func (s *Service) fly(ctx context.Context, f *flight, g store.Group, c *change) error {
	defer s.flights.land(c.ID, f) // also when attempt panics: others wait for it
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ChangeTimeout)
	defer cancel()
	f.err = errAborted
	f.err = s.attempt(ctx, g, c)
	return f.err
}

// attempt does the steps after Begin. Any of them may have been done before.
func (s *Service) attempt(ctx context.Context, g store.Group, c *change) error {
	// The drop comes before the notice: from here on nobody answers from a cache that does not know of the change.
	if err := s.cache.drop(ctx, g.ID); err != nil {
		return fault.Wrap(err, fault.Overloaded, "the cache does not answer").After(time.Second)
	}
	p := place{at: c.At}
	if c.Notice != 0 {
		r, err := s.messages.Append(ctx, &messagev1.AppendRequest{Entry: c.entry(g.ID)})
		if refused(err) {
			return s.undo(ctx, g, c, err)
		}
		if err != nil {
			return fmt.Errorf("append the notice of change %s to group %s: %w", c.ID, g.ID, err)
		}
		p = place{r.GetSeq(), r.GetOrdinal(), r.GetSentAt().AsTime()}
	}
	return s.commit(ctx, g, c, p)
}

func (s *Service) commit(ctx context.Context, g store.Group, c *change, p place) error {
	users := c.Users
	if c.Kind == transferred {
		users = append([]chat.UserID{g.OwnerID}, users...)
	}
	rows, err := s.rows(ctx, g.ID, users)
	if err != nil {
		return err
	}
	after, members := c.apply(g, rows, p)
	// Only completing this very change moves the group from this version, and the notice is in the log, so no one can
	// have undone it: a conflict says that another has stored the same.
	if err := s.groups.Commit(ctx, after, members); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("store change %s of group %s: %w", c.ID, g.ID, err)
	}
	// Nothing can have been cached since the first drop; this one heals a cache that lost it.
	if err := s.cache.drop(ctx, g.ID); err != nil {
		s.warn(ctx, "drop", "a cached group was not dropped a second time", err)
	}
	return nil
}

func (s *Service) rows(ctx context.Context, g chat.GroupID, users []chat.UserID) (map[chat.UserID]store.Member, error) {
	rows := make(map[chat.UserID]store.Member, len(users))
	if len(users) == 0 {
		return rows, nil
	}
	ms, err := s.members.Get(ctx, g, users)
	if err != nil {
		return nil, fmt.Errorf("load members of group %s: %w", g, err)
	}
	for _, m := range ms {
		rows[m.UserID] = m
	}
	return rows, nil
}

// refused reports whether message will answer the same for ever. Everything else (time-outs, a full or absent log, an
// internal error) may have appended the notice or may do so next time; such a change stays pending and is tried again,
// by everyone who needs the group and by the sweep.
func refused(err error) bool {
	c := fault.CodeOf(err)
	return c == fault.Invalid || c == fault.AlreadyExists
}

// undo takes back a change whose notice is refused for ever, so that it cannot block its group. This should never
// happen: all that goes into a notice is checked before. A refusal as invalid is the same for everyone, so no one has
// appended it. A refusal because the id was used says that some notice of that id is in the log, which nobody can tell
// from this one; its effect does not come. In both cases NoticeSeq is raised to the log's head, or else a notice
// unknown to us would let the log call every permission stale and nobody could write any more.
func (s *Service) undo(ctx context.Context, g store.Group, c *change, cause error) error {
	s.log.ErrorContext(ctx, "the log refuses a notice; the change is undone",
		obs.GroupID, string(g.ID), "change", c.ID, "kind", string(c.Kind), obs.Err, cause)
	heads, err := s.messages.GetHeads(ctx, &messagev1.GetHeadsRequest{
		ConversationIds: []string{string(chat.GroupConversation(g.ID))}, Stored: true,
	})
	if err != nil {
		return fmt.Errorf("read the head of group %s: %w", g.ID, err)
	}
	for _, h := range heads.GetHeads() {
		g.NoticeSeq = max(g.NoticeSeq, h.GetSeq())
	}
	g.Pending, g.PendingAt = nil, time.Time{}
	g.Dissolved = g.Dissolved || c.Kind == created // nobody is in it
	if err := s.groups.Commit(ctx, g, nil); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("undo change %s of group %s: %w", c.ID, g.ID, err)
	}
	return errors.Join(errRefused, s.cache.drop(ctx, g.ID))
}

// flights are the attempts of this process that are under way, by change.
type flights struct {
	mu sync.Mutex // guards of
	of map[string]*flight
}

// flight is one attempt; err is set when done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// join returns the attempt at change id, and whether the caller has to make it.
func (fs *flights) join(id string) (f *flight, mine bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f, ok := fs.of[id]; ok {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	fs.of[id] = f
	return f, true
}

func (fs *flights) land(id string, f *flight) {
	fs.mu.Lock()
	delete(fs.of, id)
	fs.mu.Unlock()
	close(f.done)
}
