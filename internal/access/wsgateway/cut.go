package wsgateway

import (
	"context"
	"time"
)

// cutOff notes that the backbone was lost and is there again. It never blocks.
func (s *Service) cutOff() {
	select {
	case s.cuts <- struct{}{}:
	default: // one round for all that were noted before it begins
	}
}

// afterCuts makes up for what passed this instance while it was cut off: ends of sessions (invariant 5), which are
// looked for at once, and pushes, for which its clients are told to synchronise.
func (s *Service) afterCuts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.cuts:
		}
		s.log.InfoContext(ctx, "connected to the backbone again: sessions are checked, clients synchronise", "connections", s.conns.count.Load())
		s.sweepAll(ctx)
		s.resyncAll(ctx)
	}
}

// sweepAll checks every session at once; a slice that could not be checked is tried again.
func (s *Service) sweepAll(ctx context.Context) {
	for i := 0; i < shardCount && ctx.Err() == nil; {
		if s.sweepShard(ctx, i) {
			i++
			continue
		}
		wait(ctx, nil, time.Second)
	}
}

// resyncAll tells all clients to synchronise, as many a second as may register again.
func (s *Service) resyncAll(ctx context.Context) {
	pause := time.Second / time.Duration(s.cfg.RegisterRate)
	var list []*conn
	for i := range shardCount {
		list = s.conns.appendShard(list[:0], i)
		for rest := list; len(rest) > 0 && ctx.Err() == nil; {
			n := min(len(rest), callBatch)
			s.resync(ctx, rest[:n])
			rest = rest[n:]
			wait(ctx, nil, pause*time.Duration(n))
		}
	}
}
