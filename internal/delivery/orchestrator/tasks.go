package orchestrator

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

const (
	schema       = 1
	offlineTopic = "task"
)

// origin is which log tasks come from.
type origin struct {
	incarnation string
	partition   int
}

// id names a task by the entries that it covers.
func (o origin) id(s span) string {
	return fmt.Sprintf("%s.%d.%d-%d.%d-%d", o.incarnation, o.partition,
		s.first.position, s.first.index, s.last.position, s.last.index)
}

// tasks is what a plan comes to: per gateway the tasks in order, and those for pusher-offline.
type tasks struct {
	online  map[string][]*flowv1.OnlineTask
	offline []*flowv1.OfflineTask
}

// builder collects tasks and begins another one when a task is large enough.
type builder struct {
	origin  origin
	online  map[string]*box
	offline box
}

// box is the tasks of one topic; the last one is still being filled.
type box struct {
	online  []*flowv1.OnlineTask
	offline []*flowv1.OfflineTask
	spans   []span // of each task
	size    int
	at      int // the delivery of the last item, from 1; 0: the task has none
}

// span is the first and the last entry of a task.
type span struct{ first, last place }

// tasks splits the plan by where the recipients are.
func (p *plan) tasks(online map[chat.UserID][]*presencev1.Connection, o origin) tasks {
	b := builder{origin: o, online: map[string]*box{}}
	for i := range p.deliveries {
		b.deliver(&p.deliveries[i], i+1, online)
	}
	out := tasks{online: map[string][]*flowv1.OnlineTask{}, offline: b.offline.offline}
	for i, t := range out.offline {
		t.Id = o.id(b.offline.spans[i])
	}
	for gateway, x := range b.online {
		for i, t := range x.online {
			t.Id = o.id(x.spans[i])
		}
		out.online[gateway] = x.online
	}
	return out
}

func (b *builder) deliver(d *delivery, number int, online map[chat.UserID][]*presencev1.Connection) {
	whole := encoded{entry: d.entry}
	hidden := encoded{entry: &messagev1.Entry{
		ConversationId: d.entry.GetConversationId(), Seq: d.entry.GetSeq(), Ordinal: d.entry.GetOrdinal(),
		Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN,
	}}
	rings := convlog.Raises(d.entry)
	for _, u := range d.users {
		form := &whole
		if u == d.withheld {
			form = &hidden
		}
		for _, c := range online[u] {
			b.toGateway(d, number, form, c)
		}
		if len(online[u]) == 0 && rings && u != d.withheld && string(u) != d.entry.GetSenderId() {
			b.toOffline(d, number, &whole, u)
		}
	}
}

func (b *builder) toGateway(d *delivery, number int, form *encoded, c *presencev1.Connection) {
	x := b.online[c.GetGatewayId()]
	if x == nil {
		x = &box{}
		b.online[c.GetGatewayId()] = x
	}
	entry, need := form.bytes(), proto.Size(c)+oneItem
	if len(x.online) == 0 || x.size+len(entry)+need > maxTask {
		x.begin(d.at)
		x.online = append(x.online, &flowv1.OnlineTask{Schema: schema, GatewayId: c.GetGatewayId()})
	}
	t := x.online[len(x.online)-1]
	if x.at != number || !form.in(t.Items[len(t.Items)-1]) {
		t.Items = append(t.Items, &flowv1.OnlineItem{Entry: entry})
		x.size += len(entry) + oneItem
	}
	item := t.Items[len(t.Items)-1]
	item.To = append(item.To, c)
	x.end(d.at, number, need)
}

func (b *builder) toOffline(d *delivery, number int, whole *encoded, u chat.UserID) {
	x, need := &b.offline, len(u)+oneItem
	size := len(whole.bytes()) + oneItem
	if len(x.offline) == 0 || x.size+size+need > maxTask {
		x.begin(d.at)
		x.offline = append(x.offline, &flowv1.OfflineTask{Schema: schema})
	}
	t := x.offline[len(x.offline)-1]
	if x.at != number {
		t.Items = append(t.Items, &flowv1.OfflineItem{Entry: d.entry})
		x.size += size
	}
	item := t.Items[len(t.Items)-1]
	item.UserIds = append(item.UserIds, string(u))
	x.end(d.at, number, need)
}

func (x *box) begin(at place) {
	x.spans = append(x.spans, span{first: at})
	x.size, x.at = 0, 0
}

func (x *box) end(at place, number, size int) {
	x.spans[len(x.spans)-1].last = at
	x.at = number
	x.size += size
}

// encoded is an entry that is encoded when it is first needed.
type encoded struct {
	entry *messagev1.Entry
	data  []byte
}

func (e *encoded) bytes() []byte {
	if e.data == nil {
		e.data, _ = proto.Marshal(e.entry) // it was decoded from the log, so it can be encoded
	}
	return e.data
}

// in reports whether item holds e and not its other form.
func (e *encoded) in(item *flowv1.OnlineItem) bool {
	return len(item.GetEntry()) > 0 && len(e.data) > 0 && &item.GetEntry()[0] == &e.data[0]
}

// outlets are the queues that tasks go to.
type outlets struct {
	online, offline backbone.Queue
	timeout         time.Duration
	m               *metrics
}

// publish stores all tasks, those of one gateway in order, and returns when they are stored.
func (o outlets) publish(ctx context.Context, t tasks) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for gateway, list := range t.online {
		g.Go(func() error {
			for _, task := range list {
				if err := o.store(ctx, o.online, gateway, task.GetId(), task); err != nil {
					return err
				}
				o.m.tasks.WithLabelValues("online").Inc()
				for _, i := range task.GetItems() {
					o.m.recipients.WithLabelValues("online").Add(float64(len(i.GetTo())))
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for _, task := range t.offline {
			if err := o.store(ctx, o.offline, offlineTopic, task.GetId(), task); err != nil {
				return err
			}
			o.m.tasks.WithLabelValues("offline").Inc()
			for _, i := range task.GetItems() {
				o.m.recipients.WithLabelValues("offline").Add(float64(len(i.GetUserIds())))
			}
		}
		return nil
	})
	return g.Wait()
}

// store publishes one task. Its id is deduped by the queue: it names the entries and, as presence may have changed
// since an earlier try, what is in the task.
func (o outlets) store(ctx context.Context, q backbone.Queue, topic, id string, m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode task %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := q.Publish(ctx, topic, id+"."+strconv.FormatUint(xxhash.Sum64(data), 36), data); err != nil {
		return fmt.Errorf("publish task %s to %s: %w", id, topic, err)
	}
	return nil
}
