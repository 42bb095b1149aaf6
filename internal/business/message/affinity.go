package message

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// AliveSubject carries what instances of message say of themselves to each other.
const AliveSubject = "oc.message.alive"

const (
	announceEvery = time.Second
	aliveFor      = 3500 * time.Millisecond // three announcements may get lost
	maxPeers      = 1000
	heardQueue    = 256
)

// Affinity is what message needs to share the log's partitions out among its instances. It only saves conflicts: any
// instance may append anywhere at any time, so two that both take themselves for the owner, or none, do no harm.
type Affinity struct {
	// Partitions is the number of the log's partitions; a shard of the target is named by a partition's number.
	Partitions int
	// Serve begins to get the calls of a shard, until stop is called.
	Serve func(target, shard string) (stop func())
	// Subscribe hears what is published on a subject, one call at a time, until stop is called.
	Subscribe func(subject, group string, fn func(subject string, data []byte)) (stop func(), err error)
}

// announcement is what an instance says. Unknown fields and states are ignored, so that neighbouring versions get along.
type announcement struct {
	Schema int    `json:"schema"`
	ID     string `json:"id"`
	Bye    bool   `json:"bye,omitempty"` // the last word of an instance that leaves
}

// affinity is one instance's part. Only its own goroutine touches it.
type affinity struct {
	Affinity
	publish func(subject string, data []byte) error
	log     *slog.Logger
	noise   *obs.Limiter

	id       string
	peers    map[string]time.Time  // when an instance was last heard; without this one
	owned    map[int]func()        // how to stop serving
	stopping map[int]chan struct{} // closed when a shard that was given away is no longer served
	heard    chan announcement

	others, mine atomic.Int64 // how many peers and owned there are, for the metrics
}

func newAffinity(a Affinity, publish func(string, []byte) error, log *slog.Logger, noise *obs.Limiter) *affinity {
	return &affinity{
		Affinity: a, publish: publish, log: log, noise: noise, id: chat.NewID(),
		peers: map[string]time.Time{}, owned: map[int]func(){}, stopping: map[int]chan struct{}{}, heard: make(chan announcement, heardQueue),
	}
}

// run takes part until ctx ends; then it says goodbye, whereupon the others serve its shards, and stops serving them, so
// that no send for a shard is left with it when the log ends.
func (a *affinity) run(ctx context.Context) {
	stop, err := a.Subscribe(AliveSubject, "", a.hear)
	if err != nil {
		a.log.WarnContext(ctx, "instances of message cannot hear each other; any instance appends", obs.Err, err)
		return
	}
	defer stop()
	a.say(ctx, false)
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for settled := false; ; { // the first tick: who is there has answered
		select {
		case <-ctx.Done():
			a.say(ctx, true)
			a.claim(ctx, nil)
			for _, stopped := range a.stopping {
				<-stopped
			}
			return
		case <-tick.C:
			settled = true
			a.forget(time.Now().Add(-aliveFor))
			a.say(ctx, false)
		case h := <-a.heard:
			a.learn(ctx, h, time.Now())
		}
		if settled {
			a.claim(ctx, owned(a.id, a.peers, a.Partitions))
		}
		a.others.Store(int64(len(a.peers)))
		a.mine.Store(int64(len(a.owned)))
	}
}

// hear passes an announcement on; what cannot be read or comes too fast is dropped, as the next one repeats it.
func (a *affinity) hear(_ string, data []byte) {
	var h announcement
	if err := json.Unmarshal(data, &h); err != nil || !chat.ValidID(h.ID) || h.ID == a.id {
		return
	}
	select {
	case a.heard <- h:
	default:
	}
}

// learn takes in what another instance says. A new one is greeted, so that it need not wait for the next tick.
func (a *affinity) learn(ctx context.Context, h announcement, now time.Time) {
	_, known := a.peers[h.ID]
	switch {
	case h.Bye:
		delete(a.peers, h.ID)
	case known || len(a.peers) < maxPeers:
		a.peers[h.ID] = now
		if !known {
			a.say(ctx, false)
		}
	}
}

func (a *affinity) forget(before time.Time) {
	for id, at := range a.peers {
		if at.Before(before) {
			delete(a.peers, id)
		}
	}
}

func (a *affinity) say(ctx context.Context, bye bool) {
	data, err := json.Marshal(announcement{Schema: 1, ID: a.id, Bye: bye})
	if err == nil {
		err = a.publish(AliveSubject, data)
	}
	if err != nil {
		if n, ok := a.noise.Allow("alive"); ok {
			a.log.WarnContext(ctx, "other instances of message were not told that this one lives", obs.Err, err, obs.Suppressed, n)
		}
	}
}

// claim makes the shards that are served those of want.
func (a *affinity) claim(ctx context.Context, want map[int]bool) {
	changed := false
	for p, stop := range a.owned {
		if !want[p] {
			stopped := make(chan struct{})
			go func() { defer close(stopped); stop() }() // it waits for calls; run waits for it at the end
			a.stopping[p] = stopped
			delete(a.owned, p)
			changed = true
		}
	}
	for p := range want {
		if a.owned[p] == nil && a.hasStopped(p) {
			a.owned[p] = a.Serve("message", strconv.Itoa(p))
			changed = true
		}
	}
	if changed {
		a.log.InfoContext(ctx, "partitions of the log were shared out anew", "owned", len(a.owned), "partitions", a.Partitions, "others", len(a.peers))
	}
}

// hasStopped tells whether p can be served again; if not, the next tick looks again.
func (a *affinity) hasStopped(p int) bool {
	stopped := a.stopping[p]
	if stopped == nil {
		return true
	}
	select {
	case <-stopped:
		delete(a.stopping, p)
		return true
	default:
		return false
	}
}

// owned returns the partitions of which id wins the rendezvous among itself and its peers: when an instance comes or
// goes, only the partitions change hands that it gets or had.
func owned(id string, peers map[string]time.Time, partitions int) map[int]bool {
	mine := map[int]bool{}
	for p := range partitions {
		best, won := weight(id, p), true
		for peer := range peers {
			if w := weight(peer, p); w > best || w == best && peer > id {
				won = false
				break
			}
		}
		if won {
			mine[p] = true
		}
	}
	return mine
}

// weight is FNV-1a, mixed once more, as ids that differ in few characters must not win together.
func weight(id string, partition int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(append(strconv.AppendInt(nil, int64(partition), 10), 0))
	_, _ = h.Write([]byte(id))
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
