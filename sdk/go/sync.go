package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// syncTimeout bounds one page of a sync.
const syncTimeout = 30 * time.Second

var errOvertaken = errors.New("the connection was replaced meanwhile")

// syncPage is what the answers to connect and to query.sync have in common.
type syncPage struct {
	epoch         uint64
	resync        bool
	token, next   string
	conversations []*queryv1.Conversation
}

// synced is an answer that begins a sync.
type synced interface {
	GetEpoch() uint64
	GetResync() bool
	GetSyncToken() string
	GetNextPageToken() string
	GetConversations() []*queryv1.Conversation
}

func page(r synced) syncPage {
	return syncPage{r.GetEpoch(), r.GetResync(), r.GetSyncToken(), r.GetNextPageToken(), r.GetConversations()}
}

func (c *Client) syncToken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.meta.SyncToken
}

// entered makes s the session, unless it is of another user than the store.
func (c *Client) entered(s *session, r *wirev1.ConnectResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.meta.UserID != "" && c.meta.UserID != r.GetUserId() {
		return &ClosedError{WrongUser, fmt.Errorf("the store belongs to %s, the token to %s", c.meta.UserID, r.GetUserId())}
	}
	c.session = s
	if m := c.meta; m.UserID == "" || m.DeviceID != c.opts.DeviceID {
		m.UserID, m.DeviceID = r.GetUserId(), c.opts.DeviceID
		first := c.meta.UserID == ""
		if err := c.commit(store.Batch{Meta: &m}); err != nil {
			return err
		}
		if first {
			c.outbox.sort(m.UserID)
		}
	}
	for _, cv := range c.convs {
		cv.log.Disconnected(cv.info.GetHead().GetSeq())
	}
	if c.begun == nil { // what comes from now on is new, also while the sync is under way
		c.beginning, c.pushed = map[string]uint64{}, map[string]uint64{}
		for id, cv := range c.convs {
			c.beginning[id] = cv.log.End()
		}
	}
	c.resyncing = c.lost(page(r))
	c.setStateLocked(State{Phase: Syncing})
	return nil
}

// left forgets the session; it also ends what it left half done.
func (c *Client) left(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s {
		c.session, c.resyncing = nil, false
		c.setStateLocked(State{Phase: Connecting})
	}
}

func (c *Client) isOnline(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s && s.ctx.Err() == nil {
		c.loggedIn = true // from now on a session that ends is not replaced
		if c.begun == nil {
			c.begun, c.beginning, c.pushed = c.beginning, nil, nil
		}
		c.setStateLocked(State{Phase: Online})
		c.log.Info("online", "user", c.meta.UserID)
	}
}

// syncAll merges the first page and pulls the others, all by the old token. The new one is stored with the last page:
// a client that breaks off before begins again. s.syncs is held.
func (c *Client) syncAll(s *session, p syncPage) error {
	c.mu.Lock()
	old, lost := c.meta.SyncToken, c.lost(p)
	c.resyncing = lost
	c.mu.Unlock()
	for {
		lasts, err := c.judge(s, p, lost)
		if err != nil {
			return err
		}
		if err := c.merge(s, p, lasts); err != nil || p.next == "" {
			return err
		}
		r, err := s.sync(old, p.next)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		p = syncPage{p.epoch, p.resync, r.GetSyncToken(), r.GetNextPageToken(), r.GetConversations()}
	}
}

// sync asks for a page of what changed. A server that does not answer is as good as one that is gone.
func (s *session) sync(token, page string) (*queryv1.SyncResponse, error) {
	ctx, cancel := context.WithTimeout(s.ctx, syncTimeout)
	defer cancel()
	r := &queryv1.SyncResponse{}
	return r, s.call(ctx, laneSync, "query.sync", &queryv1.SyncRequest{SyncToken: token, PageToken: page}, r)
}

// merge applies one page of a sync. If a log was lost lasts is not nil, and of what is held stays what is not above it, by
// conversation.
func (c *Client) merge(s *session, p syncPage, lasts map[string]uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return errOvertaken
	}
	lost := lasts != nil
	ch := c.change()
	for _, info := range p.conversations {
		cv := c.conv(info.GetConversationId())
		if lost {
			c.truncate(ch, cv, lasts[cv.id])
		}
		cv.merge(info, lost)
		ch.touch(cv)
		head := min(info.GetHead().GetSeq(), maxSeq(info))
		ch.applied(cv, cv.log.Told(head, info.GetLastEntry()))
		if c.beginning != nil {
			if first := c.pushed[cv.id]; first != 0 { // this page was written after that push
				head = min(head, first-1)
			}
			c.beginning[cv.id] = head
		}
	}
	if p.next == "" {
		m := c.meta
		m.Epoch, m.SyncToken = p.epoch, p.token
		ch.batch.Meta = &m
	}
	if err := ch.commit(); err != nil {
		return err
	}
	if p.next == "" {
		c.resyncing = false
		for _, cv := range c.convs {
			c.repair(s, cv, 0)
			c.fetch(s, cv)
		}
	}
	return nil
}

func maxSeq(info *queryv1.Conversation) uint64 {
	if info.MaxSeq != nil {
		return info.GetMaxSeq()
	}
	return ^uint64(0)
}

// offer applies entries that were pushed on s, and has the holes filled that they show.
func (c *Client) offer(s *session, entries []*messagev1.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return errOvertaken
	}
	return c.offerLocked(s, entries...)
}

func (c *Client) offerLocked(s *session, entries ...*messagev1.Entry) error {
	ch := c.change()
	for _, e := range entries {
		if e.GetConversationId() == "" {
			continue
		}
		cv := c.conv(e.GetConversationId())
		if c.beginning != nil && c.pushed[cv.id] == 0 {
			c.pushed[cv.id] = e.GetSeq()
		}
		if c.resyncing { // what is held now is about to be judged; the sync tells of this entry, or a pull brings it
			cv.log.Note(e.GetSeq())
			continue
		}
		ch.touch(cv)
		ch.applied(cv, cv.log.Offer(e))
	}
	if err := ch.commit(); err != nil {
		return err
	}
	for cv := range ch.touched {
		c.repair(s, cv, holeDelay)
		c.fetch(s, cv)
	}
	return nil
}

// changes gathers what one step does to conversations, so that it is stored at once. c.mu is held.
type changes struct {
	c       *Client
	batch   store.Batch
	touched map[*conv]struct{}
}

func (c *Client) change() *changes { return &changes{c: c, touched: map[*conv]struct{}{}} }

func (ch *changes) touch(cv *conv) { ch.touched[cv] = struct{}{} }

// applied takes entries that a log let through.
func (ch *changes) applied(cv *conv, entries []*messagev1.Entry) {
	for _, e := range entries {
		cv.applied(e, ch.c.meta.UserID)
	}
	ch.batch.Entries = append(ch.batch.Entries, entries...)
}

// commit stores everything and tells those who wait for entries and conversations.
func (ch *changes) commit() error {
	for cv := range ch.touched {
		ch.evict(cv)
		ch.batch.Conversations = append(ch.batch.Conversations, cv.info)
		if ch.batch.Held == nil {
			ch.batch.Held = map[string]store.Ranges{}
		}
		ch.batch.Held[cv.id] = cv.log.Held()
	}
	if err := ch.c.commit(ch.batch); err != nil {
		return err
	}
	for cv := range ch.touched {
		for r := range ch.c.readers {
			r.mark(cv.id)
		}
		ch.c.emit(Event{Kind: EventConversation, ConversationID: cv.id})
	}
	return nil
}

// evict keeps the newest entries of a conversation, a quarter more than asked so that it is not done each time.
func (ch *changes) evict(cv *conv) {
	keep, held := uint64(ch.c.opts.CacheEntries), cv.log.Held()
	if held.Len() <= keep+keep/4 {
		return
	}
	first := held[len(held)-1].To - keep + 1
	cv.log.Forget(first)
	ch.batch.Entries = slices.DeleteFunc(ch.batch.Entries, func(e *messagev1.Entry) bool {
		return e.GetConversationId() == cv.id && e.GetSeq() < first
	})
	if ch.batch.Forget == nil {
		ch.batch.Forget = map[string]uint64{}
	}
	ch.batch.Forget[cv.id] = first
}
