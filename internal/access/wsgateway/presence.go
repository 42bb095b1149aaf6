package wsgateway

import (
	"context"
	"fmt"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
)

// renew keeps this instance's lease, and reports whether presence still knows its connections.
func (s *Service) renew(ctx context.Context) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	resp, err := s.presence.Renew(ctx, &presencev1.RenewRequest{GatewayId: string(s.id)})
	if err != nil {
		return false, fmt.Errorf("renew lease: %w", err)
	}
	return resp.GetKnown(), nil
}

// firstLease waits until presence has given a lease: before that no connection would count.
func (s *Service) firstLease(ctx context.Context) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, maxRetryPause) {
		_, err := s.renew(ctx)
		if err == nil {
			return nil
		}
		s.failed("lease", "no lease from presence yet, trying again", err)
		if wait(ctx, nil, pause); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// keepLease renews until ctx ends. When presence lost its state, all connections register again; also when an answer
// failed to come, as it may have been the one that said so.
func (s *Service) keepLease(ctx context.Context) {
	tick := time.NewTicker(s.cfg.RenewEvery)
	defer tick.Stop()
	again := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		known, err := s.renew(ctx)
		if err != nil {
			s.failed("lease", "lease not renewed", err)
			again = true
			continue
		}
		if !known || again {
			again = !s.registerAgain(ctx)
		}
	}
}

// registerAgain says hello for every connection, paced, and reports whether it got through. Each is told to
// synchronise, as its user was off line to others meanwhile. The lease is renewed on the way.
func (s *Service) registerAgain(ctx context.Context) bool {
	pause := time.Second * callBatch / time.Duration(s.cfg.RegisterRate)
	renewed := time.Now()
	batch := make([]*conn, 0, callBatch)
	for i := range shardCount {
		if batch = s.conns.appendShard(batch, i); len(batch) < callBatch && i < shardCount-1 {
			continue
		}
		for len(batch) > 0 {
			n := min(len(batch), callBatch)
			if err := s.helloAgain(ctx, batch[:n]); err != nil {
				s.failed("register", "connections not registered again, the next renewal retries", err)
				return false
			}
			batch = batch[n:]
			wait(ctx, nil, pause*time.Duration(n)/callBatch)
			if time.Since(renewed) > s.cfg.RenewEvery {
				renewed = time.Now()
				_, _ = s.renew(ctx) // its answer says nothing new; the next tick sees an error
			}
		}
	}
	return true
}

func (s *Service) helloAgain(ctx context.Context, list []*conn) error {
	req := &presencev1.HelloRequest{}
	said := list[:0:0]
	for _, c := range list {
		c.mu.Lock()
		if c.said && !c.out.last {
			req.Connections = append(req.Connections, c.presence())
			said = append(said, c)
		}
		c.mu.Unlock()
	}
	if len(said) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	resp, err := s.presence.Hello(ctx, req)
	for i, c := range said {
		if c.is(gone) { // its goodbye may have come before this hello
			s.goodbyes.add(req.GetConnections()[i])
		}
	}
	if err != nil {
		return fmt.Errorf("hello of %d connections: %w", len(said), err)
	}
	s.displace(resp.GetDisplaced())
	s.resync(ctx, said)
	return nil
}

// resync tells clients that pushes may have passed them.
func (s *Service) resync(ctx context.Context, list []*conn) {
	push := &wirev1.ResyncPush{Epoch: s.epoch.Load()}
	req := &wsgatewayv1.TellRequest{Signal: &flowv1.Signal{Push: &flowv1.Signal_Resync{Resync: push}}}
	for _, c := range list {
		req.ConnectionIds = append(req.ConnectionIds, string(c.id.ConnectionID))
	}
	if _, err := (&server{s: s}).Tell(ctx, req); err != nil {
		s.failed("resync", "clients not told to synchronise", err)
	}
}

// sawEpoch notes the log's epoch, which only rises.
func (s *Service) sawEpoch(e uint64) {
	for old := s.epoch.Load(); e > old && !s.epoch.CompareAndSwap(old, e); old = s.epoch.Load() {
	}
}

func (s *Service) sendGoodbyes(ctx context.Context, batch []*presencev1.Connection) error {
	_, err := s.presence.Goodbye(ctx, &presencev1.GoodbyeRequest{Connections: batch})
	return err
}

func (s *Service) sendHandBacks(ctx context.Context, batch []*flowv1.OfflineItem) error {
	_, err := s.pusher.HandBack(ctx, &pusherrealtimev1.HandBackRequest{Items: batch})
	return err
}
