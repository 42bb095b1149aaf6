package wsgateway_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/journey"
)

// BenchmarkFanOut pushes one entry to so many connections per step; ns/op is for one delivery.
func BenchmarkFanOut(b *testing.B) {
	for _, people := range []int{50, 200} {
		b.Run(fmt.Sprint(people), func(b *testing.B) { fanOut(b, start(b), people) })
		b.Run(fmt.Sprint(people, "-journey"), func(b *testing.B) {
			fanOut(b, startJourney(b, journey.New(journey.Config{Events: 65536}, "p")), people)
		})
	}
}

func fanOut(b *testing.B, w *world, people int) {
	var to []*presencev1.Connection
	for i := range people {
		c, id := w.connect(fmt.Sprintf("u%d", i), true)
		to = append(to, &presencev1.Connection{
			UserId: fmt.Sprintf("u%d", i), DeviceId: fmt.Sprintf("d-u%d", i), ConnectionId: id, GatewayId: string(w.gw.ID()),
		})
		go swallow(c)
	}
	b.ResetTimer()
	for i := 0; i < b.N; i += people {
		entry, _ := proto.Marshal(&messagev1.Entry{
			ConversationId: "g~g1", Seq: uint64(i), SenderId: "u9", MessageId: string(chat.NewMessageID(uint64(i), uint64(i+1))),
		})
		task := &flowv1.OnlineTask{GatewayId: string(w.gw.ID()), Items: []*flowv1.OnlineItem{{Entry: entry, To: to}}}
		if _, err := w.down.Deliver(context.Background(), &wsgatewayv1.DeliverRequest{Task: task}); err != nil {
			b.Fatalf("Deliver = %v; want nil", err)
		}
	}
}

// swallow reads and acknowledges everything.
func swallow(c *client) {
	_ = c.nc.SetDeadline(time.Time{})
	go func() {
		for range time.Tick(500 * time.Millisecond) {
			if _, err := c.nc.Write(rawFrame(ws.OpText, true, true, []byte(`{"jsonrpc":"2.0","method":"ack","params":{"n":9000000000}}`))); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		if _, err := c.nc.(*net.TCPConn).Read(buf); err != nil {
			return
		}
	}
}
