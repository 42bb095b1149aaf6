package convlog

import (
	"hash/maphash"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// idKey is a keyed 128-bit hash of (sender, conversation, clientMsgId): small, and nobody outside can find two alike.
type idKey [2]uint64

// remembered is what a repeated send is answered with.
type remembered struct {
	random, seq, ordinal uint64
	sentAt               int64 // ms
	body                 uint64
}

func (r remembered) result() Result {
	return Result{
		MessageID: chat.NewMessageID(r.random, r.seq),
		Seq:       r.seq, Ordinal: r.ordinal, SentAt: time.UnixMilli(r.sentAt).UTC(),
	}
}

// idWindow remembers the newest ids in two generations of maps: no ring, no deletes. A generation ends after the time or
// at half the count; so an id is remembered for at least the time, and at most twice that, unless others crowd it out.
// It is not safe for concurrent use.
type idWindow struct {
	seeds     [2]maphash.Seed
	young     map[idKey]remembered
	old       map[idKey]remembered
	since     time.Time // when young began
	span      time.Duration
	perGen    int
	forgotten uint64 // how many generations were dropped
}

func newIDWindow(span time.Duration, count int) *idWindow {
	return &idWindow{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		young: map[idKey]remembered{}, old: map[idKey]remembered{},
		span: span, perGen: max(1, count/2),
	}
}

func (w *idWindow) key(sender chat.UserID, c chat.ConversationID, clientMsgID string) idKey {
	var k idKey
	for i, seed := range w.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		_, _ = h.WriteString(string(sender))
		_ = h.WriteByte(0)
		_, _ = h.WriteString(string(c))
		_ = h.WriteByte(0)
		_, _ = h.WriteString(clientMsgID)
		k[i] = h.Sum64()
	}
	return k
}

func (w *idWindow) get(k idKey) (remembered, bool) {
	if r, ok := w.young[k]; ok {
		return r, true
	}
	r, ok := w.old[k]
	return r, ok
}

// clear forgets everything.
func (w *idWindow) clear() {
	w.young, w.old = map[idKey]remembered{}, map[idKey]remembered{}
	w.forgotten += 2
}

func (w *idWindow) put(k idKey, r remembered, now time.Time) {
	if len(w.young) >= w.perGen || now.Sub(w.since) >= w.span {
		w.old, w.young = w.young, make(map[idKey]remembered, len(w.young)/2)
		if now.After(w.since) { // of clocks that disagree the fastest counts, or each would end what the other began
			w.since = now
		}
		w.forgotten++
	}
	w.young[k] = r
}
