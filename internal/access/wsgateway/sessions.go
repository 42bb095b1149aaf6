package wsgateway

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
)

// subjectSessionEnded carries flowv1.SessionEnded to every gateway instance.
const subjectSessionEnded = "oc.session.ended"

const (
	sessionReason   = "the session has ended"
	displacedReason = "the device connected elsewhere"
	drainReason     = "the server is stopping"
)

// sessionEnded closes the connections of sessions that are over, at once.
func (s *Service) sessionEnded(_ string, data []byte) {
	msg := &flowv1.SessionEnded{}
	if err := proto.Unmarshal(data, msg); err != nil {
		s.failed("sessions", "signal of ended sessions not decoded", err)
		return
	}
	for _, id := range msg.GetSessionIds() {
		s.endSession(chat.SessionID(id))
	}
}

func (s *Service) endSession(id chat.SessionID) {
	for _, c := range s.conns.ofSession(id) {
		c.sessionOver()
	}
}

// sessionOver closes the connection: at once, or when what is at work is answered, as a log-out on this very connection
// is, and connect itself; after LastAnswers at the latest. Meanwhile nothing is begun and nothing pushed any more.
func (c *conn) sessionOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if !c.is(connecting) && (!c.is(live) || !c.req.forgetQueued()) {
		c.closeLocked(sessionOver, sessionReason)
		return
	}
	c.over = true
	time.AfterFunc(c.s.cfg.LastAnswers, func() { c.close(sessionOver, sessionReason) })
}

// sweepSessions checks every session within SweepEvery, a slice at a time: a signal may have been lost.
func (s *Service) sweepSessions(ctx context.Context) {
	s.eachShard(ctx, func(i int) { s.sweepShard(ctx, i) })
}

// eachShard calls fn for one shard after another, all of them within SweepEvery, until ctx ends.
func (s *Service) eachShard(ctx context.Context, fn func(i int)) {
	tick := time.NewTicker(max(s.cfg.SweepEvery/shardCount, time.Millisecond))
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % shardCount {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			fn(i)
		}
	}
}

// auditSessions checks every session at auth too, whatever the allow-list says: a tenth of each slice in a round. It runs
// beside the sweep, which must not wait for an auth that hangs.
func (s *Service) auditSessions(ctx context.Context) {
	var turns [shardCount]int
	s.eachShard(ctx, func(i int) {
		if s.auditShard(ctx, i, turns[i]) {
			turns[i] = (turns[i] + 1) % auditTurns
		}
	})
}

// auditShard ends those sessions of a shard whose turn it is and that are over after auth's database: the allow-list may
// have lost a Deny when one of its replicas took over. If auth cannot be asked they stay, and it answers false.
func (s *Service) auditShard(ctx context.Context, i, turn int) bool {
	ids := slices.DeleteFunc(s.conns.appendSessions(nil, i), func(id chat.SessionID) bool { return s.conns.turn(id) != turn })
	for batch := range slices.Chunk(ids, callBatch) {
		callCtx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
		ended, err := s.endedAtAuth(callCtx, batch)
		cancel()
		if err != nil {
			s.failed("sessions", "sessions not checked at auth, the next round retries", err)
			return false
		}
		for _, id := range ended {
			s.endSession(id)
		}
	}
	return true
}

// sweepShard ends what the allow-list or auth says is over. If neither can be asked, the sessions stay for now, and it
// answers false.
func (s *Service) sweepShard(ctx context.Context, i int) bool {
	for ids := s.conns.appendSessions(nil, i); len(ids) > 0; {
		n := min(len(ids), callBatch)
		callCtx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
		ended, err := s.endedSessions(callCtx, ids[:n])
		cancel()
		if err != nil {
			s.failed("sessions", "sessions not checked, the next round retries", err)
			return false
		}
		for _, id := range ended {
			s.endSession(id)
		}
		ids = ids[n:]
	}
	return true
}

// watch looks at the clocks of all connections, once a tick.
func (s *Service) watch(ctx context.Context) {
	tick := time.NewTicker(s.cfg.tick())
	defer tick.Stop()
	var list []*conn
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for i := range shardCount {
			list = s.conns.appendShard(list[:0], i)
			now := s.clock()
			for _, c := range list {
				c.tick(now)
			}
			clear(list)
		}
	}
}
