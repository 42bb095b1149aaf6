package wsgateway_test

import (
	"context"
	"sync"
	"testing"
	"time"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
)

// When everybody comes at once, some connect and the others wait for their turn.
func TestConnectsTakeTurns(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *wsgateway.Config) { c.Connects, c.ConnectWait = 2, patience })
	const all = 10
	working, goOn := make(chan struct{}, all), make(chan struct{}, all)
	defer close(goOn)
	w.query.sync = func(context.Context, *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
		working <- struct{}{}
		<-goOn
		return &queryv1.SyncResponse{SyncToken: "t"}, nil
	}
	var clients []*client
	for i := range all {
		id := string(rune('a' + i))
		c := w.dial()
		c.request(0, "connect", connectParams("u"+id, "s-u"+id, "d1", true))
		clients = append(clients, c)
	}
	for range all / 2 {
		<-working
		<-working
		if n := len(working); n != 0 {
			t.Fatalf("%d more than 2 clients connect at a time", n)
		}
		goOn <- struct{}{}
		goOn <- struct{}{}
	}
	for _, c := range clients {
		if m := c.read(); m.Error != nil {
			t.Errorf("connect answered %s; want to be let in", m.raw)
		}
	}
}

// Who waits too long is refused, and told when to come again; who has gone meanwhile costs nothing.
func TestConnectWaitsTooLong(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *wsgateway.Config) { c.Connects, c.ConnectWait = 1, 50*time.Millisecond })
	working, goOn := make(chan struct{}, 2), make(chan struct{})
	goAhead := sync.OnceFunc(func() { close(goOn) })
	defer goAhead()
	w.query.sync = func(context.Context, *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
		working <- struct{}{}
		<-goOn
		return &queryv1.SyncResponse{SyncToken: "t"}, nil
	}
	first, second := w.dial(), w.dial()
	first.request(0, "connect", connectParams("u1", "s-u1", "d1", true))
	<-working
	second.request(0, "connect", connectParams("u2", "s-u2", "d1", true))
	m := second.read()
	if m.Error == nil || m.Error.Data.Reason != "OVERLOADED" || m.Error.Data.RetryAfterMs != 50 {
		t.Errorf("the second connect answered %s; want OVERLOADED and retryAfterMs 50", m.raw)
	}
	second.wantClose(4008)
	goAhead()
	if m := first.read(); m.Error != nil {
		t.Errorf("the first connect answered %s; want to be let in", m.raw)
	}
}
