package message

import (
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

type permitKey struct {
	user         chat.UserID
	conversation chat.ConversationID
}

type permission struct {
	asOf  uint64
	until time.Time // zero: as long as no notice comes
}

// permits keeps permissions to write to groups in two generations, so that it is bounded without a list. It needs no
// invalidation: the log refuses what is older than the newest notice.
type permits struct {
	mu         sync.Mutex // guards young and old
	young, old map[permitKey]permission
	max        int
}

func newPermits(n int) *permits {
	return &permits{young: map[permitKey]permission{}, old: map[permitKey]permission{}, max: max(1, n/2)}
}

func (p *permits) get(u chat.UserID, c chat.ConversationID, now time.Time) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := permitKey{u, c}
	got, ok := p.young[k]
	if !ok {
		if got, ok = p.old[k]; ok {
			p.add(k, got)
		}
	}
	if !ok || !got.until.IsZero() && !now.Before(got.until) {
		return 0, false
	}
	return got.asOf, true
}

func (p *permits) put(u chat.UserID, c chat.ConversationID, asOf uint64, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(permitKey{u, c}, permission{asOf, until})
}

func (p *permits) add(k permitKey, v permission) {
	if len(p.young) >= p.max {
		p.old, p.young = p.young, map[permitKey]permission{}
	}
	p.young[k] = v
}

func (p *permits) forget(u chat.UserID, c chat.ConversationID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.young, permitKey{u, c})
	delete(p.old, permitKey{u, c})
}
