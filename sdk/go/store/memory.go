package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
)

// Memory is a Store that ends with the process. It is for bots that may forget, and for tests; what is in its outbox
// when the process ends is lost. Use NewMemory.
type Memory struct {
	mu            sync.Mutex // guards all below
	closed        bool
	meta          Meta
	conversations map[string]*queryv1.Conversation
	entries       map[string][]*messagev1.Entry // by conversation, ascending by seq
	held          map[string]Ranges
	outbox        map[string]Item
	cursors       map[[2]string]uint64 // by reader and conversation
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{
		conversations: map[string]*queryv1.Conversation{}, entries: map[string][]*messagev1.Entry{},
		held: map[string]Ranges{}, outbox: map[string]Item{}, cursors: map[[2]string]uint64{},
	}
}

// Load implements Store.
func (m *Memory) Load(context.Context) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return State{}, ErrClosed
	}
	st := State{Meta: m.meta, Held: maps.Clone(m.held)}
	st.Conversations = slices.Collect(maps.Values(m.conversations))
	st.Outbox = slices.SortedFunc(maps.Values(m.outbox), func(a, b Item) int { return cmp.Compare(a.N, b.N) })
	for k, seq := range m.cursors {
		st.Cursors = append(st.Cursors, Cursor{k[0], k[1], seq})
	}
	return st, nil
}

// Apply implements Store. It fails only when m is closed.
func (m *Memory) Apply(_ context.Context, b Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if b.Wipe {
		m.meta = Meta{UserID: m.meta.UserID}
		clear(m.conversations)
		clear(m.entries)
		clear(m.held)
	}
	for c, last := range b.Truncate {
		m.truncate(c, last)
	}
	for c, first := range b.Forget {
		i, _ := m.find(c, first)
		m.entries[c] = slices.Clone(m.entries[c][i:])
	}
	if b.Meta != nil {
		m.meta = *b.Meta
	}
	for _, c := range b.Conversations {
		m.conversations[c.GetConversationId()] = c
	}
	for _, e := range b.Entries {
		m.put(e)
	}
	maps.Copy(m.held, b.Held)
	for _, it := range b.Put {
		m.outbox[it.ID] = it
	}
	for _, id := range b.Remove {
		delete(m.outbox, id)
	}
	for _, c := range b.Cursors {
		m.cursors[[2]string{c.Reader, c.Conversation}] = c.Seq
	}
	return nil
}

func (m *Memory) truncate(c string, last uint64) {
	i, _ := m.find(c, last+1)
	m.entries[c] = slices.Clone(m.entries[c][:i])
	if r, ok := m.held[c]; ok {
		m.held[c] = r.Truncate(last)
	}
	for k, seq := range m.cursors {
		if k[1] == c && seq > last {
			m.cursors[k] = last
		}
	}
}

// find returns where seq is, or would be.
func (m *Memory) find(c string, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(m.entries[c], seq, func(e *messagev1.Entry, seq uint64) int { return cmp.Compare(e.GetSeq(), seq) })
}

func (m *Memory) put(e *messagev1.Entry) {
	c := e.GetConversationId()
	if i, found := m.find(c, e.GetSeq()); found {
		m.entries[c] = slices.Clone(m.entries[c]) // readers may hold the old one
		m.entries[c][i] = e
	} else if i == len(m.entries[c]) {
		m.entries[c] = append(m.entries[c], e)
	} else {
		m.entries[c] = slices.Insert(slices.Clone(m.entries[c]), i, e)
	}
}

// Entries implements Store.
func (m *Memory) Entries(_ context.Context, conversation string, after uint64, limit int) ([]*messagev1.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	i, _ := m.find(conversation, after+1)
	all := m.entries[conversation][i:]
	return slices.Clone(all[:min(len(all), limit)]), nil
}

// Close implements Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
