package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// place is where an entry stands: the position of its batch, and which one of the batch it is.
type place struct {
	position uint64
	index    int
}

// delivery is an entry and who gets it.
type delivery struct {
	entry *messagev1.Entry
	at    place
	users []chat.UserID
	// withheld is who gets only the seq of it; empty: nobody.
	withheld chat.UserID
}

// plan is what is worked on at once.
type plan struct {
	deliveries []delivery
	count      int // of entries times recipients
}

func (p *plan) add(d delivery) {
	p.deliveries = append(p.deliveries, d)
	p.count += len(d.users)
}

func (p *plan) full() bool { return len(p.deliveries) >= maxEntries || p.count >= maxDeliveries }

// users returns all recipients, each once.
func (p *plan) users() []string {
	seen := make(map[chat.UserID]struct{}, min(p.count, 1024))
	var out []string
	for _, d := range p.deliveries {
		for _, u := range d.users {
			if _, ok := seen[u]; !ok {
				seen[u] = struct{}{}
				out = append(out, string(u))
			}
		}
	}
	return out
}

type pair struct{ sender, recipient chat.UserID }

// withhold finds the direct messages that their recipient does not take. A block that is made after an entry was
// appended does not concern it, so an answer from any time after that is right.
func (s *Service) withhold(ctx context.Context, p *plan) error {
	ranges := map[pair][]*userv1.SeqRange{}
	for _, d := range p.deliveries {
		if k, ok := d.pair(); ok {
			ranges[k] = nil
		}
	}
	answers, err := s.relations(ctx, ranges)
	if err != nil {
		return err
	}
	for i := range p.deliveries {
		d := &p.deliveries[i]
		if k, ok := d.pair(); ok && inRange(answers[k], d.entry.GetSeq()) {
			d.withheld = k.recipient
		}
	}
	return nil
}

// pair returns who writes to whom, for an entry of a direct conversation.
func (d *delivery) pair() (pair, bool) {
	c := chat.ConversationID(d.entry.GetConversationId())
	sender := chat.UserID(d.entry.GetSenderId())
	if c.Kind() != chat.KindDirect || sender == "" {
		return pair{}, false
	}
	peer := c.Peer(sender)
	return pair{sender, peer}, peer != ""
}

// relations asks user about each pair once, several at a time.
func (s *Service) relations(ctx context.Context, pairs map[pair][]*userv1.SeqRange) (map[pair][]*userv1.SeqRange, error) {
	keys := make([]pair, 0, len(pairs))
	for k := range pairs {
		keys = append(keys, k)
	}
	answers := make([][]*userv1.SeqRange, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, k := range keys {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
			defer cancel()
			a, err := s.users.GetRelation(ctx, &userv1.GetRelationRequest{ActorId: string(k.sender), TargetId: string(k.recipient)})
			if err != nil {
				return fmt.Errorf("ask what %s withholds of %s: %w", k.recipient, k.sender, err)
			}
			answers[i] = a.GetWithheld()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, k := range keys {
		pairs[k] = answers[i]
	}
	return pairs, nil
}

func inRange(ranges []*userv1.SeqRange, seq uint64) bool {
	return slices.ContainsFunc(ranges, func(r *userv1.SeqRange) bool {
		return r.GetFrom() <= seq && (r.GetTo() == 0 || seq <= r.GetTo())
	})
}

// lookup returns the live connections of users. In a run that is one question, unless it has very many recipients.
func (s *Service) lookup(ctx context.Context, users []string) (map[chat.UserID][]*presencev1.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	online := map[chat.UserID][]*presencev1.Connection{}
	for some := range slices.Chunk(users, maxLookup) {
		a, err := s.presence.Lookup(ctx, &presencev1.LookupRequest{UserIds: some})
		if err != nil {
			return nil, fmt.Errorf("ask presence for %d users: %w", len(some), err)
		}
		for _, c := range a.GetConnections() {
			if backbone.CheckTopic(c.GetGatewayId(), false) != nil {
				s.m.alarm.WithLabelValues("bad_gateway_id").Inc()
				continue
			}
			u := chat.UserID(c.GetUserId())
			online[u] = append(online[u], address(c))
		}
	}
	for _, list := range online { // the same order on each try makes the same task
		slices.SortFunc(list, func(a, b *presencev1.Connection) int { return cmp.Compare(a.GetConnectionId(), b.GetConnectionId()) })
	}
	return online, nil
}

// address is what of a connection a task needs.
func address(c *presencev1.Connection) *presencev1.Connection {
	return &presencev1.Connection{
		UserId: c.GetUserId(), DeviceId: c.GetDeviceId(), GatewayId: c.GetGatewayId(), ConnectionId: c.GetConnectionId(),
	}
}
