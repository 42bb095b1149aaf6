package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// newConversationMax is how long a conversation that is new to a reader may be to be read from its start.
const newConversationMax = 300

// From says where a loop over entries begins. Use Live, Beginning or Resume.
type From struct {
	name string
	all  bool
}

var (
	// Live begins with what comes after the call. Nothing is missed while the loop runs, whatever happens to the connection.
	Live = From{}
	// Beginning begins with the first entry of each conversation that the user may see.
	Beginning = From{all: true}
)

// Resume begins where the loop of this name ended, also in an earlier process with the same Store, and the first time
// with what came since the client first connected. An entry counts as done when the loop's body has gone on to the next, so one that the body returned or broke
// off at, or died at, comes again: give answers to it a Message.ID made from it. Two loops of one name at the same time
// share the place and must not be.
func Resume(name string) From { return From{name: "r " + name} }

// reader is one loop over entries. It is guarded by the client's mutex.
type reader struct {
	name    string            // its place is stored under; "": it is not
	only    string            // the only conversation it reads, or ""
	cursors map[string]uint64 // done up to here, by conversation
	dirty   map[string]struct{}
	wake    chan struct{} // has a token when dirty may have something
}

func newReader(name string) *reader {
	return &reader{name: name, cursors: map[string]uint64{}, dirty: map[string]struct{}{}, wake: make(chan struct{}, 1)}
}

func (r *reader) mark(conversation string) {
	if r.only != "" && r.only != conversation {
		return
	}
	r.dirty[conversation] = struct{}{}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reader) truncate(conversation string, last uint64) {
	if r.cursors[conversation] > last {
		r.cursors[conversation] = last
	}
}

// Entries yields the entries of all conversations of the user: messages, one's own included, notices, and what the inbox
// gets. Each comes once, those of one conversation in the order of their seq without a gap. The loop goes on through lost
// connections; it ends with an error, which comes alone and last: the context's, a *ClosedError, ErrNotStarted, or the
// Store's. Entries that are read but not taken wait in the Store or on the server, not in memory.
//
// A conversation that comes to the user meanwhile is read from its first entry, or, if it is longer than 300, from its
// end. After the server's log was restored from an older state, seqs may come again with other entries.
func (c *Client) Entries(ctx context.Context, from From) iter.Seq2[*messagev1.Entry, error] {
	var placed atomic.Pointer[reader]
	if from == Live {
		placed.Store(c.placeNow())
	}
	return c.entries(ctx, func() (*reader, error) {
		if r := placed.Swap(nil); r != nil { // a second loop over it begins at its own start
			c.mu.Lock()
			defer c.mu.Unlock()
			for id, cv := range c.convs { // what was taken back since
				r.truncate(id, cv.log.End())
			}
			return r, nil
		}
		return c.newReader(from)
	})
}

// placeNow places a reader at what is the end now, so that Live means the call and not the loop that may begin later. It
// returns nil before the client was first online: then nothing comes before the loop.
func (c *Client) placeNow() *reader {
	c.mu.Lock()
	begun := c.begun != nil
	c.mu.Unlock()
	if !begun {
		return nil
	}
	r, _ := c.newReader(Live) // it writes nothing, so nothing fails
	return r
}

// newReader places a reader. The client is online, so every conversation is known.
func (c *Client) newReader(from From) (*reader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := newReader(from.name)
	stored, known := c.cursors[from.name]
	var begun []store.Cursor
	for id, cv := range c.convs {
		switch at, ok := stored[id]; {
		case from.all:
			r.cursors[id] = 0
		case from.name != "" && ok:
			r.cursors[id] = at
		case from.name == "":
			r.cursors[id] = cv.log.End()
		}
	}
	if from.name == "" || known {
		return r, nil
	}
	for id, at := range c.begun {
		r.cursors[id] = at
		begun = append(begun, store.Cursor{Reader: from.name, Conversation: id, Seq: at})
	}
	begun = append(begun, store.Cursor{Reader: from.name}) // that it has begun, if there is no conversation
	if err := c.commit(store.Batch{Cursors: begun}); err != nil {
		return nil, err
	}
	for _, cur := range begun {
		c.cursor(cur.Reader)[cur.Conversation] = cur.Seq
	}
	return r, nil
}

// cursor returns the places of a reader's name. c.mu is held.
func (c *Client) cursor(name string) map[string]uint64 {
	m := c.cursors[name]
	if m == nil {
		m = map[string]uint64{}
		c.cursors[name] = m
	}
	return m
}

// entries runs a loop with the reader that place makes once the client is online.
func (c *Client) entries(ctx context.Context, place func() (*reader, error)) iter.Seq2[*messagev1.Entry, error] {
	return func(yield func(*messagev1.Entry, error) bool) {
		_, err := c.online(ctx, false)
		if err != nil {
			yield(nil, err)
			return
		}
		r, err := place()
		if err != nil {
			yield(nil, err)
			return
		}
		c.mu.Lock()
		c.readers[r] = struct{}{}
		for id := range c.convs {
			r.mark(id)
		}
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			delete(c.readers, r)
			c.mu.Unlock()
		}()
		for {
			id, err := c.nextDirty(ctx, r)
			if err == nil {
				err = c.deliver(ctx, r, id, yield)
			}
			if errors.Is(err, errLeft) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// nextDirty waits for a conversation that may have something new.
func (c *Client) nextDirty(ctx context.Context, r *reader) (string, error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		c.mu.Lock()
		st, changed := c.state, c.changed
		for id := range r.dirty {
			delete(r.dirty, id)
			c.mu.Unlock()
			return id, nil
		}
		c.mu.Unlock()
		if st.Phase == Closed {
			return "", &ClosedError{st.Reason, st.Err}
		}
		select {
		case <-r.wake:
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// errLeft says that the loop's body broke off.
var errLeft = errors.New("the loop was left")

// slice is a part of a conversation that a reader may take: all up to to, except what the user may not see.
type slice struct {
	entries   []*messagev1.Entry
	after, to uint64
	more      bool // there is more behind it
}

// deliver yields the next entries of a conversation, a page at most.
func (c *Client) deliver(ctx context.Context, r *reader, id string, yield func(*messagev1.Entry, error) bool) error {
	p, err := c.stored(ctx, r, id)
	if err == nil && p.entries == nil && p.to > p.after {
		p, err = c.pulled(ctx, id, p)
	}
	if err != nil {
		return err
	}
	for _, e := range p.entries {
		if !c.stands(r, id, p.after) {
			return nil // taken back meanwhile; truncate marked it
		}
		if !yield(e, nil) {
			return errLeft
		}
		if err := c.advance(r, id, p.after, e.GetSeq()); err != nil {
			return err
		}
		p.after = e.GetSeq()
	}
	if err := c.advance(r, id, p.after, p.to); err != nil {
		return err
	}
	if p.more {
		c.mu.Lock()
		r.mark(id)
		c.mu.Unlock()
	}
	return nil
}

// stored returns what the store has for r next. If it has nothing although there is something, the slice is empty and
// says what is missing.
func (c *Client) stored(ctx context.Context, r *reader, id string) (slice, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cv := c.convs[id]
	if cv == nil {
		return slice{}, nil
	}
	after, ok := r.cursors[id]
	if !ok {
		if !cv.told {
			return slice{}, nil // fetch tells, and marks it again
		}
		after = firstOf(cv)
		r.cursors[id] = after
	}
	end := cv.log.End()
	if after >= end {
		return slice{after: after, to: after}, nil
	}
	missing := slice{after: after, to: end}
	if next := cv.log.Held().Next(after + 1); next != 0 && next <= end {
		missing.to, missing.more = next-1, true
	}
	last := min(cv.log.Held().EndOf(after+1), end)
	if last == 0 {
		return missing, nil
	}
	entries, err := c.store.Entries(ctx, id, after, pullPage)
	if err != nil {
		return slice{}, fmt.Errorf("read the store: %w", err)
	}
	for i, e := range entries {
		if e.GetSeq() > last {
			entries = entries[:i]
			break
		}
	}
	if len(entries) == 0 && cv.log.Held().Has(after+1) { // seqs that the user may not see, or the store has lost them
		return missing, nil
	}
	if len(entries) == pullPage {
		last = entries[len(entries)-1].GetSeq()
	}
	return slice{entries: entries, after: after, to: last, more: last < end}, nil
}

// firstOf returns what a reader has done of a conversation that is new to it.
func firstOf(cv *conv) uint64 {
	first := max(cv.info.GetMinSeq(), 1)
	if end := cv.log.End(); end > first+newConversationMax {
		first = end
	}
	return first - 1
}

// pulled asks the server for what the store has not, until it answers.
func (c *Client) pulled(ctx context.Context, id string, want slice) (slice, error) {
	for n := 0; ; n++ {
		s, err := c.online(ctx, false)
		if err != nil {
			return slice{}, err
		}
		r, err := c.pull(ctx, s, id, want.after)
		var refused *Error
		switch {
		case ctx.Err() != nil:
			return slice{}, ctx.Err()
		case errors.As(err, &refused) && refused.definite():
			c.log.Warn("entries cannot be had, going on without them", "conversation", id, "after", want.after, "err", err)
			return want, nil
		case err != nil:
			sleep(ctx, holeDelay+backoff(n))
			continue
		case r.GetToSeq() <= want.after: // nothing that the user may see
			return want, nil
		}
		got := slice{after: want.after, to: min(r.GetToSeq(), want.to), more: want.more || r.GetToSeq() < want.to}
		for _, e := range r.GetEntries() {
			if e.GetSeq() > got.after && e.GetSeq() <= got.to {
				got.entries = append(got.entries, e)
			}
		}
		return got, nil
	}
}

// stands reports whether r is still where its page began.
func (c *Client) stands(r *reader, id string, at uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.cursors[id] == at
}

// advance notes that r is done up to a seq, if nothing was taken back since.
func (c *Client) advance(r *reader, id string, from, to uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to <= from || r.cursors[id] != from {
		return nil
	}
	r.cursors[id] = to
	if r.name == "" {
		return nil
	}
	c.cursor(r.name)[id] = to
	return c.commit(store.Batch{Cursors: []store.Cursor{{Reader: r.name, Conversation: id, Seq: to}}})
}
