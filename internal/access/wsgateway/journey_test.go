package wsgateway_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/journey"
)

// tell delivers a message to connections, by user, and to one that is not there.
func (w *world) tell(id string, conns map[string]string) {
	w.t.Helper()
	entry, _ := proto.Marshal(&messagev1.Entry{ConversationId: "g~g1", Seq: 5, SenderId: "u9", MessageId: id})
	item := &flowv1.OnlineItem{Entry: entry, To: []*presencev1.Connection{{UserId: "gone", ConnectionId: "gone"}}}
	for user, conn := range conns {
		item.To = append(item.To, &presencev1.Connection{
			UserId: user, DeviceId: "d-" + user, ConnectionId: conn, GatewayId: string(w.gw.ID()),
		})
	}
	task := &flowv1.OnlineTask{GatewayId: string(w.gw.ID()), Items: []*flowv1.OnlineItem{item}}
	if _, err := w.down.Deliver(context.Background(), &wsgatewayv1.DeliverRequest{Task: task}); err != nil {
		w.t.Fatalf("Deliver = %v; want nil", err)
	}
}

func steps(rec *journey.Recorder, id string) (out []string) {
	events, _ := rec.Of(id)
	for _, e := range events {
		out = append(out, fmt.Sprintf("%s %s/%s %d %s", e.Stage, e.User, e.Device, e.Count, e.Detail))
	}
	slices.Sort(out)
	return out
}

// Where a message went is remembered for each device: pushed, and acknowledged or handed back. Who was not there is not
// said to have got it.
func TestJourneyOfFew(t *testing.T) {
	rec, id := journey.New(journey.Config{Events: 1 << 16}, "p"), string(chat.NewMessageID(7, 5))
	w := startJourney(t, rec)
	ann, annConn := w.connect("ann", true)
	bob, bobConn := w.connect("bob", true)
	w.tell(id, map[string]string{"ann": annConn, "bob": bobConn})
	ann.text(`{"jsonrpc":"2.0","method":"ack","params":{"n":1}}`)
	_ = bob.nc.Close()
	want := []string{"acknowledged ann/d-ann 0 ", "handed back bob/d-bob 0 closed", "pushed ann/d-ann 0 ", "pushed bob/d-bob 0 "}
	eventually(t, "both have settled", func() bool { return len(steps(rec, id)) == len(want) })
	if got := steps(rec, id); !slices.Equal(got, want) {
		t.Errorf("the journey is %q; want %q", got, want)
	}
	events, _ := rec.Of(id)
	for _, e := range events {
		if e.Via != string(w.gw.ID()) || e.Connection == "" {
			t.Errorf("%+v; want the gateway and the connection", e)
		}
	}
}

// Of a message to many connections only counts are remembered, and the first that acknowledged and gave back.
func TestJourneyOfMany(t *testing.T) {
	rec, id := journey.New(journey.Config{Events: 1 << 16}, "p"), string(chat.NewMessageID(8, 5))
	w := startJourney(t, rec, func(c *wsgateway.Config) { c.AckWindow = time.Minute })
	const people, deaf = journey.Few + 20, 3
	conns := map[string]string{}
	var clients []*client
	for i := range people {
		user := fmt.Sprintf("u%d", i)
		c, conn := w.connect(user, true)
		conns[user] = conn
		clients = append(clients, c)
	}
	w.tell(id, conns)
	for i, c := range clients {
		if i < deaf {
			_ = c.nc.Close()
			continue
		}
		c.text(`{"jsonrpc":"2.0","method":"ack","params":{"n":1}}`)
	}
	counts := func() map[journey.Stage][]int {
		out := map[journey.Stage][]int{}
		events, _ := rec.Of(id)
		for _, e := range events {
			out[e.Stage] = append(out[e.Stage], e.Count)
		}
		return out
	}
	eventually(t, "all have settled", func() bool { return len(counts()[journey.HandedBack]) == 2 })
	got := counts()
	for stage, want := range map[journey.Stage][]int{
		journey.Pushed: {people}, journey.Acknowledged: {0, people - deaf}, journey.HandedBack: {0, deaf},
	} {
		if !slices.Equal(got[stage], want) {
			t.Errorf("%s: counts %v; want %v", stage, got[stage], want)
		}
	}
}
