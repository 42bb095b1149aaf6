package crossing

import "sync/atomic"

// Tries is how many instances are asked at most.
const Tries = 3

// Patience bounds how much is asked again of one target, as a target that is slow because it has too much to do must not
// get more. Each time nobody answered in time takes 1, each answer in time gives 2 back, and below half of it nothing is
// asked again: so it lasts while a third of what is asked is answered in time, as with one of two instances hung every
// half is. When nobody answers any more it is spent after 50 repeats.
//
// The zero value is full. It is safe for concurrent use.
type Patience struct{ spent atomic.Int32 }

const (
	patience = 100
	regained = 2
)

// Regain notes an answer in time.
func (p *Patience) Regain() {
	for {
		old := p.spent.Load()
		if old == 0 || p.spent.CompareAndSwap(old, max(old-regained, 0)) {
			return
		}
	}
}

// Spend notes that there was no answer in time, and says whether to ask again.
func (p *Patience) Spend() bool {
	for {
		old := p.spent.Load()
		if old == patience {
			return false
		}
		if p.spent.CompareAndSwap(old, old+1) {
			return old < patience/2
		}
	}
}
