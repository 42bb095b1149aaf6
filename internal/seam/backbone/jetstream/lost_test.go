package jetstream_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
)

// A server that is cut off from the others keeps its clients, and can do nothing for them. They leave it while it is cut
// off, and go on.
func TestLeavesLostServer(t *testing.T) {
	c := backbonetest.StartWired(t)
	urls := strings.Split(c.URLs(0), ",")
	b, err := jetstream.Dial(jetstream.Servers{URLs: urls}, "test", jetstream.Config{Replicas: 3, LogMaxBytes: 1 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.LeaveLost(ctx) }()
	defer func() {
		cancel()
		<-ended
		b.Close()
	}()
	eventually := func(what string, cond func(ctx context.Context) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
			once, cancel := context.WithTimeout(ctx, 5*time.Second)
			ok := cond(once)
			cancel()
			if ok {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("not within a minute: %s", what)
			}
		}
	}
	var l backbone.Log
	eventually("the log", func(ctx context.Context) bool { l, err = b.Log(ctx, 0); return err == nil })
	append1 := func(ctx context.Context) bool {
		i, err := l.Info(ctx)
		if err != nil {
			return false
		}
		_, err = l.Append(ctx, []byte("x"), i.Last)
		return err == nil
	}
	eventually("an append", append1)
	at := slices.IndexFunc(urls, func(u string) bool { return strings.TrimSpace(u) == b.ConnectedURL() })
	if at < 0 {
		t.Fatalf("connected to %s, which is none of %q", b.ConnectedURL(), urls)
	}
	c.Isolate(at)
	eventually("an append while the server of the connection is cut off", append1)
	if got := b.ConnectedURL(); got == urls[at] {
		t.Errorf("still connected to %s", got)
	}
	c.Join(at)
}
