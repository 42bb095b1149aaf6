package bench

import (
	"context"
	"testing"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

// Connections that a server ends come back by themselves, and what that took is told.
func TestStay(t *testing.T) {
	t.Parallel()
	f := fakeserver.New()
	base := reach(t, f)
	b := &bench{options: options{wire: protoCodec{}, stormConns: 2, duration: time.Minute}, accounts: &accounts{}, progress: newProgress(nil, false)}
	for _, name := range []string{"ann", "bob"} {
		id := f.AddUser(name, "password")
		s, err := oceanchat.REST{URL: base, HTTP: goodHTTP}.Login(t.Context(), name, "password", "d", authv1.Platform_PLATFORM_BOT)
		if err != nil {
			t.Fatal(err)
		}
		b.accounts.all = append(b.accounts.all, account{UserID: id, AccessToken: s.AccessToken, DeviceID: "d", Platform: "bot"})
	}
	ctx, stop := context.WithCancel(t.Context())
	row, over := &stayRow{Failed: map[string]int{}}, make(chan error)
	s := &stayers{bench: b, at: doorsOf(base), row: row}
	go func() { over <- s.run(ctx) }()
	wait := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(); {
			if time.Now().After(deadline) {
				t.Fatalf("not within 30 s: %s", what)
			}
			<-time.After(time.Millisecond)
		}
	}
	locked := func(ok func() bool) func() bool {
		return func() bool { s.mu.Lock(); defer s.mu.Unlock(); return ok() }
	}
	wait("both connected", locked(func() bool { return !s.begun.IsZero() }))
	f.CloseAll(4005, 0)
	wait("both back", locked(func() bool { return len(row.Waves) > 0 && s.down == 0 && back(row) >= 2 }))
	stop()
	if err := <-over; err != nil || row.Missing != 0 {
		t.Errorf("run = %v, %d missing; want nil, 0", err, row.Missing)
	}
}

// back returns how many came back over all waves.
func back(row *stayRow) (n int) {
	for _, w := range row.Waves {
		n += w.Outage.Count
	}
	return n
}
