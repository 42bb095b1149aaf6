package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
)

// messageRow is one rate of pairs or groups.
type messageRow struct {
	Scenario      string      `json:"scenario"` // pairs or group
	Rate          int         `json:"rate"`     // messages a second that were due
	Sync          string      `json:"logSync,omitempty"`
	Conversations int         `json:"conversations"`
	Interrupted   bool        `json:"interrupted"` // it did not come to its end: the account says nothing
	Members       int         `json:"members"`     // of each
	Disk          percentiles `json:"disk"`        // right before, of our own server or the cluster
	DiskAfter     percentiles `json:"diskAfter"`

	Balance    balance     `json:"ledger"`
	Counted    int         `json:"counted"` // messages behind the figures below: without the warm-up
	Throughput float64     `json:"acknowledgedPerSecond"`
	Ack        percentiles `json:"sendToAck"`
	Receive    percentiles `json:"sendToReceive"`
	Late       percentiles `json:"late"` // of the client: part of both
	Held       bool        `json:"held"` // everything balanced and the p99 of send→ack was within the bound

	// What a server of our own, or the cluster, took in the time that counts.
	Server *serverCost `json:"server,omitempty"`
	Error  string      `json:"error,omitempty"`
}

// run is one load to be measured.
type run struct {
	rate             int
	warmup, duration time.Duration
	rooms            []room
	row              *messageRow
}

// pairs measures one-to-one messages at each rate, each on a fresh server where that is ours.
func (b *bench) pairs(ctx context.Context) {
	b.messageRows(ctx, "pairs", 2*b.pairCount, b.rates, b.pairRooms)
}

// groupRows measures messages to groups whose members are all connected.
func (b *bench) groupRows(ctx context.Context) {
	b.messageRows(ctx, "group", b.groups*b.groupSize, b.groupRates, b.groupRooms)
}

func (b *bench) messageRows(ctx context.Context, scenario string, users int, rates []int, rooms func(context.Context, place) ([]room, error)) {
	for _, sync := range b.syncsHere() {
		for _, rate := range rates {
			row := messageRow{Scenario: scenario, Rate: rate, Sync: sync}
			b.progress.say("%s: %d messages a second%s", scenario, rate, comma(sync))
			err := b.measureMessages(ctx, &row, users, b.warmup, b.duration, rooms)
			what := fmt.Sprintf("%s, %d/s%s", scenario, rate, comma(sync))
			if err == nil && b.mustHold && !row.Held {
				err = fmt.Errorf("not held: p99 of send→ack %v, want at most %v", row.Ack.P99, b.p99)
			}
			row.Error = b.report.fail(what, err)
			b.report.Messages = append(b.report.Messages, row)
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// syncsHere are the settings of log.sync to measure: of a foreign server it is not known, and a cluster has one.
func (b *bench) syncsHere() []string {
	switch {
	case b.own():
		return b.syncs
	case b.cluster != nil:
		return []string{b.cluster.Sync}
	}
	return []string{""}
}

func comma(sync string) string {
	if sync == "" {
		return ""
	}
	return ", log.sync " + sync
}

func (b *bench) measureMessages(ctx context.Context, row *messageRow, users int, warmup, duration time.Duration, rooms func(context.Context, place) ([]room, error)) error {
	if err := b.probed(&row.Disk); err != nil {
		return err
	}
	err := b.at(ctx, row.Sync, users, func(ctx context.Context, p place) error {
		r := run{rate: row.Rate, warmup: warmup, duration: duration, row: row}
		var err error
		if r.rooms, err = rooms(ctx, p); err != nil {
			return err
		}
		return b.drive(ctx, p, r)
	})
	if err != nil {
		return err
	}
	return b.probed(&row.DiskAfter)
}

// probed measures the disk of our own servers, or of a cluster.
func (b *bench) probed(into *percentiles) (err error) {
	switch {
	case b.own():
		*into, err = probe(b.work)
	case b.cluster != nil:
		*into, err = probe(b.cluster.dir)
	}
	return err
}

// pairRooms gives each pair of accounts a direct conversation.
func (b *bench) pairRooms(context.Context, place) ([]room, error) {
	rooms := make([]room, b.pairCount)
	for i := range rooms {
		x, y := b.accounts.all[2*i], b.accounts.all[2*i+1]
		rooms[i] = room{
			id: direct(x.UserID, y.UserID), members: []account{x, y},
			to: []target{{userID: y.UserID}, {userID: x.UserID}},
		}
	}
	return rooms, nil
}

// direct returns the id of the conversation of two users.
func direct(a, b string) string { return "d~" + min(a, b) + "~" + max(a, b) }

// groupRooms makes the groups, as their first members.
func (b *bench) groupRooms(ctx context.Context, p place) ([]room, error) {
	rooms := make([]room, b.groups)
	err := inParallel(ctx, parallel, b.groups, func(ctx context.Context, g int) error {
		members := b.accounts.all[g*b.groupSize : (g+1)*b.groupSize]
		id, err := makeGroup(ctx, p.socket(g), b.wire, members)
		rooms[g] = room{id: "g~" + id, members: members, to: make([]target, len(members))}
		for i := range rooms[g].to {
			rooms[g].to[i].groupID = id
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make groups: %w", err)
	}
	return rooms, nil
}

// makeGroup makes a group in steps, because a frame of a client is short.
func makeGroup(ctx context.Context, url string, wire codec, members []account) (id string, err error) {
	c, err := dial(ctx, url, wire, members[0], 4<<10)
	if err != nil {
		return "", err
	}
	defer c.close()
	var made groupv1.GroupResponse
	if err := c.call(ctx, "group.create", &groupv1.CreateRequest{Name: "bench", MemberIds: ids(members[1:min(len(members), perGroupCall)])}, &made); err != nil {
		return "", err
	}
	id = made.GetGroup().GetGroupId()
	for from := perGroupCall; from < len(members); from += perGroupCall {
		more := ids(members[from:min(len(members), from+perGroupCall)])
		if err := c.call(ctx, "group.addMembers", &groupv1.AddMembersRequest{GroupId: id, UserIds: more}, &made); err != nil {
			return "", err
		}
	}
	if n := int(made.GetGroup().GetMemberCount()); n != len(members) {
		return "", fmt.Errorf("a group has %d members; want %d", n, len(members))
	}
	return id, nil
}

func ids(of []account) []string {
	out := make([]string, len(of))
	for i, a := range of {
		out[i] = a.UserID
	}
	return out
}

// runName returns what the clientMsgIds of one run begin with; no digit follows a digit.
func runName() string { return "b" + strings.ToLower(rand.Text()[:10]) + "-" }

// drive runs a load on p and fills in the row. An error says that nothing was measured or that the ledger does not balance.
func (b *bench) drive(ctx context.Context, p place, r run) error {
	row := r.row
	perSecond := func(d time.Duration) int { return max(1, int(d.Seconds()*float64(r.rate))) }
	first := 0
	if r.warmup > 0 {
		first = perSecond(r.warmup)
	}
	row.Counted = perSecond(r.duration)
	row.Conversations, row.Members = len(r.rooms), len(r.rooms[0].members)
	led := newLedger(runName(), row.Conversations, row.Members, first+row.Counted)
	if err := readHeads(ctx, p.doors, b.wire, r.rooms, led); err != nil {
		return fmt.Errorf("look where the conversations end: %w", err)
	}
	l, err := open(ctx, p.doors, b.wire, r.rooms, led)
	if err != nil {
		return err
	}
	defer l.close()
	if err := pause(ctx, time.Second); err != nil { // connecting has its aftermath
		return err
	}
	err = b.watched(ctx, p, r, first, func() error { return l.run(ctx, r.rate) })
	row.Ack, row.Receive, row.Late = led.latencies(first)
	row.Throughput = led.throughput(first)
	if ctx.Err() != nil {
		row.Interrupted = true
		return context.Cause(ctx)
	}
	backErr := readBack(ctx, p.doors, b.wire, r.rooms, led)
	led.unread = backErr != nil
	row.Interrupted = ctx.Err() != nil
	row.Balance = led.balance()
	if row.Server != nil {
		row.Server.perDelivery(row.Balance)
	}
	if err := errors.Join(err, backErr); err != nil {
		return errors.Join(err, row.Balance.wrong())
	}
	err = row.Balance.err()
	row.Held = err == nil && row.Ack.P99 <= b.p99
	return err
}

// profileRate is how fast the profiled run is.
const profileRate = 1000

// profileRun runs 1,000 messages a second once more, outside the tables, and fetches a CPU profile meanwhile: profiling
// costs something itself.
func (b *bench) profileRun(ctx context.Context) {
	b.progress.say("profile")
	row := messageRow{Rate: profileRate}
	err := b.at(ctx, b.syncs[0], 2*b.pairCount, func(ctx context.Context, p place) error {
		rooms, err := b.pairRooms(ctx, p)
		if err != nil {
			return err
		}
		fetched := make(chan error, 1)
		go func() {
			err := pause(ctx, 2*time.Second+b.warmup) // drive reads and pauses before it begins
			if err == nil {
				err = p.server.profile(ctx, b.duration, b.profile)
			}
			fetched <- err
		}()
		err = b.drive(ctx, p, run{rate: profileRate, warmup: b.warmup, duration: b.duration + 2*time.Second, rooms: rooms, row: &row})
		return errors.Join(err, <-fetched)
	})
	b.report.fail("profile", err)
}
