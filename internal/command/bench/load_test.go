package bench

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reach opens a port that leads to f.
func reach(t *testing.T, f *fakeserver.Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := f.Dial(context.Background(), "", "")
			if err != nil {
				_ = near.Close()
				continue
			}
			forward := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_, _ = to.Close(), from.Close()
			}
			wg.Go(func() { forward(near, far) })
			wg.Go(func() { forward(far, near) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		goodHTTP.CloseIdleConnections()
		f.Close()
		wg.Wait()
	})
	return "http://" + ln.Addr().String()
}

// A server that is slow is charged for all who wait, those who could not even be sent included: with 48 requests under
// way on each of two connections and 300 ms for each, it does 320 a second, so of 480 in a second the last waits long.
func TestOpenLoop(t *testing.T) {
	t.Parallel()
	f := fakeserver.New()
	base := reach(t, f)
	var members []account
	for _, name := range []string{"ann", "bob"} {
		id := f.AddUser(name, "password")
		s, err := oceanchat.REST{URL: base, HTTP: goodHTTP}.Login(t.Context(), name, "password", "d", authv1.Platform_PLATFORM_BOT)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, account{UserID: id, AccessToken: s.AccessToken, DeviceID: "d", Platform: "bot"})
	}
	const delay, count, rate = 300 * time.Millisecond, 480, 480
	f.Script(fakeserver.Rule{At: fakeserver.AtReply, Method: "message.send", Times: -1, Do: fakeserver.Delay, DelayMs: int(delay.Milliseconds())})
	rooms := []room{{id: direct("u1", "u2"), members: members, to: []target{{userID: "u2"}, {userID: "u1"}}}}
	led := newLedger(runName(), 1, 2, count)
	l, err := open(t.Context(), doorsOf(base), protoCodec{}, rooms, led)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.run(t.Context(), rate); err != nil {
		t.Fatalf("run = %v; want nil", err)
	}
	if err := readBack(t.Context(), doorsOf(base), protoCodec{}, rooms, led); err != nil {
		t.Fatal(err)
	}
	if b := led.balance(); b.err() != nil || b.Sent != count {
		t.Errorf("balance of %d = %v; want nil, %d", b.Sent, b.err(), count)
	}
	ack, _, late := led.latencies(0)
	if ack.P50 < delay || late.Max < delay/2 || ack.Max < delay+late.Max/2 {
		t.Errorf("send→ack p50 %v, max %v, client late max %v; want the time that messages waited in all", ack.P50, ack.Max, late.Max)
	}
}
