package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/finding"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

const (
	// late is how old what nobody has handled yet may be.
	late = time.Minute
	// atOnce is how many streams are looked at side by side.
	atOnce = 32
	// askTimeout bounds one question, so that there is time to tell. A question that this user may not ask gets no answer.
	askTimeout = 3 * time.Second
	// startService is what makes streams and brings their size up to date.
	startService = "it is made when a service starts; if others are there, look why this one is gone: what it held is lost"
)

// looked is what was found of one stream.
type looked struct {
	name    string
	info    *js.StreamInfo // nil: not there, or not told
	err     error
	ahead   time.Duration // of the leader's clock before ours
	trip    time.Duration
	lagging []*js.PeerInfo // who has a copy that is not as the leader's
	found   []finding.Finding

	denied bool // this user may not look
}

// streams looks at all streams and tells what deviates, each in a line of its own, and the rest in one.
func (d Diagnosis) streams(ctx context.Context, b *Backbone) []finding.Finding {
	var wanted []js.StreamConfig
	for p := range d.Config.Partitions {
		wanted = append(wanted, b.logConfig(p))
	}
	logs := len(wanted)
	for _, q := range []backbone.QueueName{backbone.PushOnline, backbone.PushOffline, backbone.Events} {
		wanted = append(wanted, b.queueConfig(q))
	}
	wanted = append(wanted, b.deadConfig())
	all := make([]looked, len(wanted))
	var wg sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for i, c := range wanted {
		wg.Go(func() {
			turn <- struct{}{}
			all[i] = d.look(ctx, b, c, i < logs)
			<-turn
		})
	}
	wg.Wait()
	found := summary("nats log", all[:logs])
	found = append(found, summary("nats queues", all[logs:])...)
	found = append(found, copies(all)...)
	if l := d.beyond(ctx, b); l != nil {
		found = append(found, *l)
	}
	if c := clockOf(all); c != nil {
		found = append(found, *c)
	}
	return found
}

// look asks for one stream and judges it.
func (d Diagnosis) look(ctx context.Context, b *Backbone, want js.StreamConfig, isLog bool) looked {
	l := looked{name: want.Name}
	check := "nats stream " + want.Name
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	sent := time.Now()
	s, err := b.js.Stream(ctx, want.Name)
	got := time.Now()
	if errors.Is(err, js.ErrStreamNotFound) {
		return l
	}
	if err != nil {
		l.err, l.denied = err, b.denied()
	}
	if l.denied {
		return l
	}
	if err != nil {
		l.found = append(l.found, finding.Bad(check, "cannot be read: "+finding.Text(err), "start the servers that hold it; two of its three must run"))
		return l
	}
	l.info = s.CachedInfo()
	l.trip = got.Sub(sent) / 2
	if at := l.info.TimeStamp; !at.IsZero() {
		l.ahead = at.Sub(sent.Add(l.trip))
	}
	lagging, headless := outOfStep(check, l.info)
	l.lagging = lagging
	l.found = slices.Concat(deviations(check, l.info.Config, want), headless, fullness(check, l.info))
	switch {
	case isLog:
		for _, r := range d.Readers {
			l.found = append(l.found, b.reader(ctx, check, s, r)...)
		}
	case want.Name == backbone.DeadStream:
		if n := l.info.State.Msgs; n > 0 {
			l.found = append(l.found, finding.Warn(check, fmt.Sprintf("%d tasks were given up, the last one %s", n, l.info.State.LastTime.UTC().Format(time.RFC3339)),
				"read their header OceanChat-Error: nats stream view "+want.Name))
		}
	case want.Retention == js.WorkQueuePolicy:
		if old := l.info.TimeStamp.Sub(l.info.State.FirstTime); l.info.State.Msgs > 0 && old > late {
			l.found = append(l.found, finding.Warn(check, fmt.Sprintf("%d tasks wait, the oldest for %s", l.info.State.Msgs, finding.Round(old)),
				"start more instances of who works on them, or look at their logs"))
		}
	}
	return l
}

// denied tells whether the server has refused something that this user asked.
func (b *Backbone) denied() bool { return errors.Is(b.conn.LastError(), nats.ErrPermissionViolation) }

// summary is one line for the streams without a fault, after the lines of the others.
func summary(check string, all []looked) (found []finding.Finding) {
	there, good, denied, bytes, missing := 0, 0, 0, uint64(0), []string{}
	for _, l := range all {
		found = append(found, l.found...)
		switch {
		case l.info != nil:
			there++
			bytes += l.info.State.Bytes
			if len(l.found)+len(l.lagging) == 0 {
				good++
			}
		case l.denied:
			denied++
		case l.err == nil:
			missing = append(missing, l.name)
		}
	}
	if denied > 0 {
		found = append(found, finding.Warn(check, fmt.Sprintf("%d of %d streams may not be looked at by this user", denied, len(all)),
			"nothing, if its targets do not use them; a user that may is one of message, orchestrator or of all targets"))
	}
	switch {
	case len(missing) > 0 && there > 0:
		for _, name := range missing {
			found = append(found, finding.Warn("nats stream "+name, "is not there", startService))
		}
	case len(missing) == len(all) && len(all) > 0:
		return append(found, finding.Good(check, "no stream is there yet; the first service makes them"))
	}
	if good > 0 {
		found = append(found, finding.Good(check, "%d of %d streams are as they should be, in step on all their servers; all hold %s", good, len(all), finding.Bytes(int64(bytes))))
	}
	return found
}

// deviations compares a stream with how it would be made.
func deviations(check string, have, want js.StreamConfig) (found []finding.Finding) {
	edit := func(what, flag string) {
		found = append(found, finding.Bad(check, what, "nats stream edit "+want.Name+" "+flag))
	}
	if have.Replicas < want.Replicas {
		edit(fmt.Sprintf("has %d replicas, %d are wanted", have.Replicas, want.Replicas), fmt.Sprintf("--replicas %d", want.Replicas))
	}
	if have.Discard != want.Discard {
		flag := strings.ToLower(strings.TrimPrefix(want.Discard.String(), "Discard"))
		edit(fmt.Sprintf("has %s, wanted is %s", have.Discard, want.Discard), "--discard "+flag)
	}
	if have.AllowDirect {
		edit("lets servers answer reads that lag behind (AllowDirect)", "--no-allow-direct")
	}
	if have.MaxAge != want.MaxAge {
		edit(fmt.Sprintf("keeps messages for %s, %s is wanted (0s is for ever)", have.MaxAge, want.MaxAge), "--max-age "+age(want.MaxAge))
	}
	if have.MaxMsgs > 0 || have.MaxMsgsPerSubject > 0 {
		edit("deletes or refuses beyond a number of messages", "--max-msgs=-1 --max-msgs-per-subject=-1")
	}
	if have.MaxMsgSize > 0 && have.MaxMsgSize < backbone.MaxData {
		edit(fmt.Sprintf("takes messages of at most %s", finding.Bytes(int64(have.MaxMsgSize))), "--max-msg-size=-1")
	}
	if !slices.Equal(have.Subjects, want.Subjects) {
		edit("holds the subjects "+strings.Join(have.Subjects, " ")+"; wanted are "+strings.Join(want.Subjects, " "), "--subjects "+strings.Join(want.Subjects, ","))
	}
	if have.Storage != want.Storage || have.Retention != want.Retention || have.Sealed || have.DenyPurge {
		found = append(found, finding.Bad(check,
			fmt.Sprintf("is made wrongly (%s, %s, sealed %t, purge denied %t); wanted are %s and %s", have.Storage, have.Retention, have.Sealed, have.DenyPurge, want.Storage, want.Retention),
			"that cannot be changed: stop all services once everything is stored, delete the stream and start them again"))
	}
	if n := have.Metadata[partitionsKey]; n != "" && n != want.Metadata[partitionsKey] {
		found = append(found, finding.Bad(check, fmt.Sprintf("was made with %s partitions, log.partitions is %s", n, want.Metadata[partitionsKey]), "set log.partitions to what the data were made with, the same in all services"))
	}
	if have.MaxBytes != want.MaxBytes {
		found = append(found, finding.Warn(check, fmt.Sprintf("may hold %s, the settings say %s", size(have.MaxBytes), size(want.MaxBytes)), "the next start of a service changes it; give all services the same log.max_bytes"))
	}
	return found
}

func age(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	return d.String()
}

func size(n int64) string {
	if n <= 0 {
		return "anything"
	}
	return finding.Bytes(n)
}

// fullness judges a stream that refuses what is more than its size.
func fullness(check string, i *js.StreamInfo) []finding.Finding {
	if i.Config.Discard != js.DiscardNew || i.Config.MaxBytes <= 0 {
		return nil
	}
	const do = "what stays is what is not stored or not delivered yet: look at persistence and orchestrator, or raise log.max_bytes"
	most := uint64(i.Config.MaxBytes)
	share := 100 * i.State.Bytes / most
	found := fmt.Sprintf("is %d %% full", share)
	switch {
	case i.State.Bytes+min(backbone.MaxData, most/16) > most: // as Writable says
		return []finding.Finding{finding.Bad(check, found+": sending fails", do)}
	case share >= 85: // above 80 % the log purges what it would keep for longer
		return []finding.Finding{finding.Warn(check, found, do)}
	}
	return nil
}

// reader judges how far a durable consumer of the log lags.
func (b *Backbone) reader(ctx context.Context, check string, s js.Stream, name string) []finding.Finding {
	state := s.CachedInfo().State
	c, err := s.Consumer(ctx, name)
	if errors.Is(err, js.ErrConsumerNotFound) {
		if state.Msgs == 0 {
			return nil
		}
		return []finding.Finding{finding.Warn(check, "was never read by "+name, "start "+name)}
	}
	if err != nil && b.denied() { // this user reads nothing
		return nil
	}
	if err != nil {
		return []finding.Finding{finding.Bad(check, "reader "+name+" cannot be looked at: "+finding.Text(err), "start the servers that hold the stream; look at their logs")}
	}
	i := c.CachedInfo()
	if i.AckFloor.Stream >= state.LastSeq {
		return nil
	}
	behind := state.LastSeq - i.AckFloor.Stream
	m, err := s.GetMsg(ctx, max(i.AckFloor.Stream+1, state.FirstSeq))
	if err != nil || i.TimeStamp.Sub(m.Time) <= late { // purged or unreadable: what its reader does about it, it logs
		return nil
	}
	found := fmt.Sprintf("%s is %d batches behind, the oldest of %s ago", name, behind, finding.Round(i.TimeStamp.Sub(m.Time)))
	if i.NumWaiting == 0 && !i.PushBound {
		found += "; nobody reads"
	}
	return []finding.Finding{finding.Warn(check, found, "start more instances of "+name+", or look at their logs and at what they wait for")}
}

// beyond tells of data that were made with more partitions than the settings say.
func (d Diagnosis) beyond(ctx context.Context, b *Backbone) *finding.Finding {
	next := backbone.LogStream(d.Config.Partitions)
	if _, err := b.js.Stream(ctx, next); d.Config.Partitions == 0 || err != nil {
		return nil
	}
	f := finding.Bad("nats log", fmt.Sprintf("there is a stream %s, and log.partitions is %d", next, d.Config.Partitions), "set log.partitions to what the data were made with, the same in all services")
	return &f
}

// clockOf judges the clock that deviates most of those that stamp what is stored.
func clockOf(all []looked) *finding.Finding {
	var worst *looked
	for i, l := range all {
		if l.info != nil && !l.info.TimeStamp.IsZero() && (worst == nil || l.ahead.Abs()-l.trip > worst.ahead.Abs()-worst.trip) {
			worst = &all[i]
		}
	}
	if worst == nil {
		return nil
	}
	check := "clock of NATS"
	if worst.info.Cluster != nil && worst.info.Cluster.Leader != "" {
		check += " " + worst.info.Cluster.Leader
	}
	f := finding.Clock(check, worst.ahead, worst.trip)
	return &f
}
