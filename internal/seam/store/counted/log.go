package counted

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

type log struct {
	in store.Log
	meter
}

// Log returns s, counted by m.
func (m *Meter) Log(s store.Log) store.Log { return log{s, m.of("log")} }

func (w log) Store(ctx context.Context, b store.Batch) (err error) {
	defer w.done("Store", time.Now(), &err)
	return w.in.Store(ctx, b)
}

func (w log) Mark(ctx context.Context, partition int) (_ store.Mark, err error) {
	defer w.done("Mark", time.Now(), &err)
	return w.in.Mark(ctx, partition)
}

func (w log) MoveMark(ctx context.Context, partition int, from, to store.Mark, raise bool) (err error) {
	defer w.done("MoveMark", time.Now(), &err)
	return w.in.MoveMark(ctx, partition, from, to, raise)
}

func (w log) Epoch(ctx context.Context) (_ uint64, err error) {
	defer w.done("Epoch", time.Now(), &err)
	return w.in.Epoch(ctx)
}

func (w log) Heads(ctx context.Context, ids []chat.ConversationID) (_ []store.Head, err error) {
	defer w.listed("Heads", len(ids), time.Now(), &err)
	return w.in.Heads(ctx, ids)
}

func (w log) ByDedupe(ctx context.Context, c chat.ConversationID, dedupe uint64) (_ []store.Entry, err error) {
	defer w.done("ByDedupe", time.Now(), &err)
	return w.in.ByDedupe(ctx, c, dedupe)
}

type cursors struct {
	in store.Cursors
	meter
}

// Cursors returns s, counted by m.
func (m *Meter) Cursors(s store.Cursors) store.Cursors { return cursors{s, m.of("cursors")} }

func (w cursors) Advance(ctx context.Context, c chat.ConversationID, u chat.UserID, to store.Cursor, at time.Time) (now store.Cursor, moved bool, err error) {
	defer w.done("Advance", time.Now(), &err)
	return w.in.Advance(ctx, c, u, to, at)
}

func (w cursors) Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) (_ []store.CursorOf, err error) {
	defer w.listed("Cursors", len(cs), time.Now(), &err)
	return w.in.Cursors(ctx, u, cs)
}

func (w cursors) Entry(ctx context.Context, c chat.ConversationID, seq uint64) (_ store.Entry, err error) {
	defer w.done("Entry", time.Now(), &err)
	return w.in.Entry(ctx, c, seq)
}

type reader struct {
	in store.Reader
	meter
}

// Reader returns s, counted by m.
func (m *Meter) Reader(s store.Reader) store.Reader { return reader{s, m.of("reader")} }

func (w reader) Range(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) (_ []store.Entry, err error) {
	defer w.done("Range", time.Now(), &err)
	return w.in.Range(ctx, c, from, to, limit, newest)
}

func (w reader) At(ctx context.Context, at []store.EntryKey) (_ []store.Entry, err error) {
	defer w.listed("At", len(at), time.Now(), &err)
	return w.in.At(ctx, at)
}

func (w reader) FirstAt(ctx context.Context, c chat.ConversationID, t time.Time) (_ uint64, err error) {
	defer w.done("FirstAt", time.Now(), &err)
	return w.in.FirstAt(ctx, c, t)
}

func (w reader) Heads(ctx context.Context, ids []chat.ConversationID) (_ []store.Head, err error) {
	defer w.listed("Heads", len(ids), time.Now(), &err)
	return w.in.Heads(ctx, ids)
}

func (w reader) Directs(ctx context.Context, u chat.UserID) (_ []chat.ConversationID, err error) {
	defer w.done("Directs", time.Now(), &err)
	return w.in.Directs(ctx, u)
}

func (w reader) Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) (_ []store.CursorOf, err error) {
	defer w.listed("Cursors", len(cs), time.Now(), &err)
	return w.in.Cursors(ctx, u, cs)
}

func (w reader) PeerCursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) (_ []store.CursorOf, err error) {
	defer w.listed("PeerCursors", len(cs), time.Now(), &err)
	return w.in.PeerCursors(ctx, u, cs)
}

func (w reader) FirstMentions(ctx context.Context, u chat.UserID, after map[chat.ConversationID]uint64) (_ map[chat.ConversationID]uint64, err error) {
	defer w.listed("FirstMentions", len(after), time.Now(), &err)
	return w.in.FirstMentions(ctx, u, after)
}
