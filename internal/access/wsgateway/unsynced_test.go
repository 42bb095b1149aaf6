package wsgateway_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// While the database is away clients connect all the same: with the token that they came with, so that nothing passes
// them. They get what is sent meanwhile, and are told to synchronise when that works again.
func TestConnectWithoutSync(t *testing.T) {
	t.Parallel()
	w := start(t)
	first, _ := w.connect("u0", true) // the gateway learns the epoch
	var back atomic.Bool
	w.query.mu.Lock()
	w.query.sync = func(_ context.Context, r *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
		if !back.Load() {
			return nil, fault.New(fault.Overloaded, "the database is away").After(time.Second)
		}
		return &queryv1.SyncResponse{Epoch: 2, SyncToken: "new"}, nil
	}
	w.query.mu.Unlock()

	c := w.dial()
	c.request(0, "connect", `{"token":"u1:s-u1:d-u1","deviceId":"d-u1","platform":"web","syncToken":"t-u1-old","acks":true}`)
	var answer struct {
		ConnectionID, SyncToken string
		Epoch                   int
		Resync                  bool
		Conversations           []any
	}
	if m := c.read(); json.Unmarshal(m.Result, &answer) != nil || answer.SyncToken != "t-u1-old" || answer.Epoch != 1 || answer.Resync ||
		len(answer.Conversations) > 0 {
		t.Fatalf("connect without a database = %s; want the client's own token, epoch 1 and nothing else", m.raw)
	}
	w.deliver(1, 1, answer.ConnectionID)
	if m := c.read(); m.Method != "entry" {
		t.Errorf("the client got %s; want the entry that was sent meanwhile", m.raw)
	}
	back.Store(true)
	if m := c.read(); m.Method != "resync" {
		t.Errorf("the client got %s; want resync", m.raw)
	}
	first.request(1, "ping", `{}`)
	if m := first.read(); string(m.ID) != "1" {
		t.Errorf("a client that has synchronised got %s; want nothing but the answer to its ping", m.raw)
	}
}
