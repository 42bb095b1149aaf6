// Package journey remembers where messages went: a bounded memory of events in each process, which nobody sees until
// somebody asks for one message, and the asking, over all processes. It answers "why did this device not get this
// message" for messages of the last seconds to hours, without a collector of traces and without a sample.
//
// It writes nothing to a disk or the network until it is asked, never waits, and never grows: the oldest events go
// first. It keeps invariant 9: events hold ids, stages, counts and stable words, never text, names or tokens.
package journey

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// Config is the "journey" section of the configuration.
type Config struct {
	Events int `yaml:"events" default:"65536" min:"0" max:"16777216" doc:"How many events of messages on their way each process remembers for 'oceanchat trace', at about 140 bytes each; a message between two devices makes 10. 0: none."`
}

// Few is up to how many recipients, or connections of one gateway, a message is remembered per device; with more, per
// gateway and with counts, so that a message to 100,000 devices costs a few events and not 200,000.
const Few = 100

const (
	always    = 4      // so few are remembered per device whatever the load
	perSecond = 10_000 // devices that are remembered one by one in a second, of messages to more: well below 1 % of a core
)

// Stage says how far a message has come.
type Stage uint8

// The stages, with who records them. Numbers are never reused: processes of two versions may answer the same question.
const (
	Accepted     Stage = iota + 1 // message: the send was permitted and waits for the log; Detail is the request's id
	Committed                     // message: the log has it, the sender may be told; Detail is the conversation
	Stored                        // persistence: the database has it
	Routed                        // orchestrator: a task for the gateway of a live connection; remembered once it is stored
	Offline                       // orchestrator, pusher-realtime: a task for pusher-offline; remembered once it is stored
	Withheld                      // orchestrator: the recipient does not take it, and gets only its seq
	Handed                        // pusher-realtime: when it began to hand it to the gateway, which took it for Count connections
	Retried                       // pusher-realtime: the gateway did not answer; Detail says why
	Unreached                     // pusher-realtime: the gateway no longer has that connection
	Pushed                        // ws-gateway: it is in the output of the connection
	Acknowledged                  // ws-gateway: the device said that it has it
	HandedBack                    // ws-gateway: not acknowledged; Detail says why it was given up
	Ringing                       // pusher-offline: a notification waits for the vendor's consumer; Via is the vendor
	Skipped                       // orchestrator, pusher-offline: no notification; Detail says why
	Answered                      // pusher-offline: the vendor answered; Detail is the outcome
	Parked                        // pusher-realtime, pusher-offline: given up, it lies in the dead-letter stream
	stages                        // how many there are, and one more
)

var stageNames = [stages]string{
	Accepted: "accepted", Committed: "committed", Stored: "stored", Routed: "routed", Offline: "offline", Withheld: "withheld",
	Handed: "handed", Retried: "retried", Unreached: "unreached", Pushed: "pushed", Acknowledged: "acknowledged",
	HandedBack: "handed back", Ringing: "ringing", Skipped: "skipped", Answered: "answered", Parked: "parked",
}

// String returns the stage's word, as reports show it.
func (s Stage) String() string {
	if s > 0 && s < stages {
		return stageNames[s]
	}
	return fmt.Sprintf("stage %d", uint8(s))
}

// Event is one step of one message. Ids that a step does not have are empty.
type Event struct {
	When    time.Time
	Message string // its id; without one nothing is recorded
	Stage   Stage
	User    string // the recipient, or the sender of Accepted and Committed
	Device  string
	// Via is the gateway, or the vendor of a notification.
	Via        string
	Connection string // unique within its gateway
	// Detail is an id or a stable word, as the stage says.
	Detail string
	// Count is of how many recipients this one event tells; 0 is one.
	Count int
}

// Recorder is the memory of one process. A nil Recorder is off: it records nothing and knows nothing. It is safe for
// concurrent use.
type Recorder struct {
	process string
	run     string // tells two runs and two processes of one name apart
	seed    maphash.Seed
	second  atomic.Int64 // when spent counts
	spent   atomic.Int64 // devices that Each allowed in that second
	shards  [shardCount]shard
}

// New returns an empty Recorder, or nil if cfg turns it off. process is what reports call this process.
func New(cfg Config, process string) *Recorder {
	if cfg.Events == 0 {
		return nil
	}
	r := &Recorder{process: process, run: chat.NewID(), seed: maphash.MakeSeed()}
	now := time.Now().UnixNano()
	for i := range r.shards {
		r.shards[i].most = max(1, cfg.Events/shardCount/2)
		r.shards[i].since = now
	}
	return r
}

// Record remembers e. It costs about 50 ns and allocates nothing once the memory has its size; strings are copied.
func (r *Recorder) Record(e Event) {
	if r == nil || e.Message == "" {
		return
	}
	r.shard(e.Message).add(&e)
}

// Each reports whether a step to n devices at once is remembered for each of them, or by one event with a count. Under
// load it says no, as that would cost a tenth of delivering and flush everything else from the memory.
func (r *Recorder) Each(n int, now time.Time) bool {
	switch {
	case r == nil || n > Few:
		return false
	case n <= always:
		return true
	}
	if s := now.Unix(); r.second.Swap(s) != s {
		r.spent.Store(0) // two that do so at once allow a little more
	}
	return r.spent.Add(int64(n)) <= perSecond
}

// Of returns what is remembered of a message, in the order of recording, and since when everything of it is.
func (r *Recorder) Of(message string) (events []Event, since time.Time) {
	if r == nil {
		return nil, time.Time{}
	}
	return r.shard(message).find(message)
}

// shard returns where a message's events are: all together, so that a look-up reads one shard.
func (r *Recorder) shard(message string) *shard {
	return &r.shards[maphash.String(r.seed, message)%shardCount]
}
