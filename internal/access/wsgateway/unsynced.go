package wsgateway

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// probeEvery is how often query is asked whether it can synchronise again.
const probeEvery = 2 * time.Second

// unsynced are the connections that were let in while query could not synchronise, as when the database is away: what is
// sent meanwhile reaches them, and what they lack they are told to ask for when it can be answered.
type unsynced struct {
	mu   sync.Mutex // guards list
	list map[*conn]struct{}
}

func (u *unsynced) add(c *conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.list == nil {
		u.list = map[*conn]struct{}{}
	}
	u.list[c] = struct{}{}
}

// take empties the list.
func (u *unsynced) take() []*conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := slices.Collect(maps.Keys(u.list))
	clear(u.list)
	return list
}

// letIn answers connect although query failed with err, if it may be better in a while: with the client's own sync token,
// which says that all it stands for is still to come. It is nil if that would be wrong: for other failures, and for a
// gateway that has not learned the log's epoch yet.
func (c *conn) letIn(syncToken string, err error) *wirev1.ConnectResponse {
	epoch := c.s.epoch.Load()
	if fault.CodeOf(err) != fault.Unavailable || epoch == 0 || c.is(gone) {
		return nil
	}
	c.s.note("connected without synchronising", c, err)
	c.s.unsynced.add(c)
	return &wirev1.ConnectResponse{
		ConnectionId: string(c.id.ConnectionID), UserId: string(c.id.UserID),
		HeartbeatSeconds: int32(max(c.s.cfg.Heartbeat/time.Second, 1)), ServerTime: timestamppb.Now(),
		Epoch: epoch, SyncToken: syncToken,
	}
}

// catchUp tells the unsynced to synchronise once one of them could.
func (s *Service) catchUp(ctx context.Context) {
	for ctx.Err() == nil {
		wait(ctx, nil, probeEvery)
		var waiting []*conn
		for _, c := range s.unsynced.take() {
			if !c.is(gone) {
				waiting = append(waiting, c)
			}
		}
		if len(waiting) == 0 {
			continue
		}
		if !s.canSync(ctx, waiting[0]) {
			for _, c := range waiting {
				s.unsynced.add(c)
			}
			continue
		}
		s.log.InfoContext(ctx, "query can synchronise again: clients that connected without are told", "connections", len(waiting))
		for list := range slices.Chunk(waiting, callBatch) {
			s.resync(ctx, list)
			wait(ctx, nil, time.Second/time.Duration(s.cfg.RegisterRate)*time.Duration(len(list)))
		}
	}
}

func (s *Service) canSync(ctx context.Context, c *conn) bool {
	ctx, cancel := context.WithTimeout(calls.WithIdentity(ctx, c.id), s.cfg.CallTimeout)
	defer cancel()
	sync, err := s.query.Sync(ctx, &queryv1.SyncRequest{})
	s.sawEpoch(sync.GetEpoch())
	return err == nil
}
