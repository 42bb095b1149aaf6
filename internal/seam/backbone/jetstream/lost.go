package jetstream

import (
	"context"
	"errors"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
)

// How often a connection looks whether its server has a part in the cluster, which is also the most that a look takes, and
// after how many looks in vain it leaves that server. If the next ones are no better it looks twice as often in vain before
// it leaves again, up to most: nobody may have a leader, and to leave costs every request that is under way.
const (
	lookAtServer    = 2 * time.Second
	looksInVain     = 3
	looksInVainMost = 48
)

// codeNoLeader is a server's answer when its cluster has no leader that it knows of.
const codeNoLeader js.ErrorCode = 10008

// leaveLost connects to another server when the present one has lost the others: such a server keeps its clients and
// answers none of their requests, and the driver notices nothing. It returns when ctx ends. A connection that never had an
// answer is left alone: its user may not be allowed to ask.
func (b *Backbone) leaveLost(ctx context.Context) {
	tick := time.NewTicker(lookAtServer)
	defer tick.Stop()
	for asked, vain, patience := b.hasPart(ctx), 0, looksInVain; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch {
		case !b.conn.IsConnected():
			vain = 0
		case b.hasPart(ctx):
			asked, vain, patience = true, 0, looksInVain
		default:
			vain++
		}
		if vain < patience || !asked || len(b.conn.Servers()) < 2 || ctx.Err() != nil {
			continue
		}
		b.log.WarnContext(ctx, "the NATS server has lost its cluster, connecting to another", "url", b.conn.ConnectedUrlRedacted())
		vain, patience = 0, min(2*patience, looksInVainMost)
		if err := b.conn.ForceReconnect(); err != nil {
			b.log.WarnContext(ctx, "not connected to another NATS server", "err", err)
		}
	}
}

// hasPart asks the cluster's leader, by way of the server of this connection. Any answer but one is an answer.
func (b *Backbone) hasPart(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookAtServer)
	defer cancel()
	_, err := b.js.AccountInfo(ctx)
	var api *js.APIError
	if errors.As(err, &api) {
		return api.ErrorCode != codeNoLeader
	}
	return err == nil
}
