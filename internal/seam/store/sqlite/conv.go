package sqlite

import (
	"context"
	"errors"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// convCache is how many numbers of conversations one generation of the cache holds: some 4 MB.
const convCache = 32 << 10

// convs remembers the numbers of conversations, which never change, in two generations: a full one becomes the old one,
// whose used names move up. It belongs to the writer's goroutine, so that a number given in a write that is undone can
// be forgotten with it; readers ask the table instead.
type convs struct {
	max      int
	cur, old map[chat.ConversationID]int64
	fresh    []chat.ConversationID // added since keep
}

func newConvs(limit int) convs {
	return convs{max: limit, cur: make(map[chat.ConversationID]int64)}
}

func (c *convs) get(name chat.ConversationID) (int64, bool) {
	if id, ok := c.cur[name]; ok {
		return id, true
	}
	id, ok := c.old[name]
	if ok {
		c.put(name, id)
	}
	return id, ok
}

func (c *convs) put(name chat.ConversationID, id int64) {
	if len(c.cur) >= c.max {
		c.old, c.cur = c.cur, make(map[chat.ConversationID]int64, c.max)
	}
	c.cur[name] = id
}

// add remembers a number that the write under way has given.
func (c *convs) add(name chat.ConversationID, id int64) {
	c.put(name, id)
	c.fresh = append(c.fresh, name)
}

func (c *convs) keep() { c.fresh = c.fresh[:0] }

func (c *convs) drop() {
	for _, name := range c.fresh {
		delete(c.cur, name)
		delete(c.old, name)
	}
	c.keep()
}

func (c *convs) clear() {
	clear(c.cur)
	clear(c.old)
	c.keep()
}

// conv returns the number of a conversation, and gives it one if it has none.
func (t *tx) conv(name chat.ConversationID) (int64, error) {
	if id, ok := t.w.convs.get(name); ok {
		return id, nil
	}
	ctx := context.Background()
	id, err := one(ctx, t, scanID, `SELECT id FROM conv WHERE name = ?`, name)
	if err == nil {
		t.w.convs.put(name, id)
		return id, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	id, err = one(ctx, t, scanID, `INSERT INTO conv (name) VALUES (?) RETURNING id`, name)
	if err != nil {
		return 0, err
	}
	t.w.convs.add(name, id)
	return id, nil
}

func scanID(r row, id *int64) error { return r.Scan(id) }
