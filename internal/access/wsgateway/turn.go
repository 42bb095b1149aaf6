package wsgateway

import (
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// turn waits until fewer than cfg.Connects others connect here, in the order of those who wait, and returns what ends the
// turn. A connect is several calls of other services. With those of everybody under way at once, after a gateway is gone,
// each takes longer than it may: all are refused, all come again, and nobody ever gets in. So some are at work and the others
// wait, which costs nothing; who waited too long is told when to come again.
func (c *conn) turn() (end func(), err error) {
	late := time.NewTimer(c.s.cfg.ConnectWait)
	defer late.Stop()
	select {
	case c.s.connects <- struct{}{}:
	case <-late.C:
		return nil, fault.New(fault.Overloaded, "too many clients connect at the moment").After(c.s.cfg.ConnectWait)
	case <-c.s.ctx.Done():
		return nil, errClosed
	}
	end = func() { <-c.s.connects }
	if c.is(gone) { // it gave up meanwhile: what its connect would cost is for those behind it
		end()
		return nil, errClosed
	}
	return end, nil
}
