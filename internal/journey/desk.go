package journey

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// The subjects of look-ups. A question goes to every process, the answers go to whoever asked.
const (
	Subject       = "oc.trace"
	AnswerSubject = "oc.trace.answer." // and a word of the question's own
)

const (
	gather    = time.Second // how long answers are waited for: nobody knows how many processes there are
	pieceSize = 500         // steps in one answer; more come in several, below the backbone's bound for a signal
	lookups   = 8           // at a time
)

// signals is what a Desk needs of the backbone.
type signals interface {
	// Publish is as in backbone.Backbone.
	Publish(subject string, data []byte) error
	// Subscribe is as in backbone.Backbone.
	Subscribe(subject, group string, fn func(subject string, data []byte)) (stop func(), err error)
}

// Report is what is known of a message, over all processes: the body of GET /trace/{messageId}.
type Report struct {
	MessageID string `json:"messageId"`
	// Steps are in the order of time, by the clock of the process that each happened in.
	Steps []Step `json:"steps"`
	// Processes are those that answered.
	Processes []Process `json:"processes"`
	// Problem says why others could not be asked; what this process knows is shown all the same.
	Problem string `json:"problem,omitempty"`
}

// Step is an Event in a Report. Stage is the word of a Stage.
type Step struct {
	At         time.Time `json:"at"`
	Stage      string    `json:"stage"`
	Process    string    `json:"process"`
	UserID     string    `json:"userId,omitempty"`
	DeviceID   string    `json:"deviceId,omitempty"`
	Via        string    `json:"via,omitempty"`
	Connection string    `json:"connectionId,omitempty"`
	Detail     string    `json:"detail,omitempty"`
	Count      int       `json:"count,omitempty"`
}

// Process is one that answered. It has forgotten what was before Since.
type Process struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

// Desk answers what others ask of a Recorder, and asks all processes for those who ask this one. Several look-ups may be
// under way at once.
type Desk struct {
	rec     *Recorder
	signals signals // nil: there is no other process
	log     *slog.Logger
	places  chan struct{}
}

// NewDesk returns a Desk of rec, which may be nil: then it asks only others. Without signals it asks nobody, and answers
// at once: it is alone.
func NewDesk(rec *Recorder, s signals, log *slog.Logger) *Desk {
	return &Desk{rec: rec, signals: s, log: log, places: make(chan struct{}, lookups)}
}

// question is what is asked on Subject.
type question struct {
	MessageID string `json:"messageId"`
	Reply     string `json:"reply"`
}

// answer is one piece of what a process knows.
type answer struct {
	Run string `json:"run"`
	Process
	Steps []Step `json:"steps"`
}

// Run answers other processes until ctx ends. An error means that Subject could not be subscribed to.
func (d *Desk) Run(ctx context.Context, ready func()) error {
	if d.signals != nil && d.rec != nil {
		stop, err := d.signals.Subscribe(Subject, "", func(_ string, data []byte) { d.asked(ctx, data) })
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", Subject, err)
		}
		defer stop()
	}
	ready()
	<-ctx.Done()
	return nil
}

// asked answers a question of another process, also when the answer is that nothing is known. Answers go nowhere but to
// subjects of answers, whoever asks.
func (d *Desk) asked(ctx context.Context, data []byte) {
	var q question
	if json.Unmarshal(data, &q) != nil || !valid(q.MessageID) || !chat.ValidID(strings.TrimPrefix(q.Reply, AnswerSubject)) ||
		!strings.HasPrefix(q.Reply, AnswerSubject) {
		return
	}
	steps, since := d.rec.steps(q.MessageID)
	for first := true; first || len(steps) > 0; first = false {
		n := min(len(steps), pieceSize)
		piece, err := json.Marshal(answer{Run: d.rec.run, Process: Process{d.rec.process, since}, Steps: steps[:n]})
		if err == nil {
			err = d.signals.Publish(q.Reply, piece)
		}
		if err != nil {
			d.log.DebugContext(ctx, "a look-up of a message was not answered", "err", err)
			return
		}
		steps = steps[n:]
	}
}

func (r *Recorder) steps(message string) ([]Step, time.Time) {
	events, since := r.Of(message)
	out := make([]Step, len(events))
	for i, e := range events {
		out[i] = Step{
			At: e.When.UTC(), Stage: e.Stage.String(), Process: r.process, UserID: e.User, DeviceID: e.Device,
			Via: e.Via, Connection: e.Connection, Detail: e.Detail, Count: e.Count,
		}
	}
	return out, since.UTC()
}

func valid(messageID string) bool {
	_, ok := chat.MessageID(messageID).Seq()
	return ok
}

// Find asks all processes about a message and returns within about a second, or when ctx ends.
func (d *Desk) Find(ctx context.Context, messageID string) Report {
	r := Report{MessageID: messageID, Steps: []Step{}, Processes: []Process{}}
	if d.rec != nil {
		steps, since := d.rec.steps(messageID)
		r.Steps = append(r.Steps, steps...)
		r.Processes = append(r.Processes, Process{d.rec.process, since})
	}
	if d.signals != nil {
		if err := d.ask(ctx, messageID, &r); err != nil {
			r.Problem = "other processes could not be asked"
			d.log.WarnContext(ctx, "a message could not be looked up in other processes", "err", err)
		}
	}
	slices.SortStableFunc(r.Steps, func(a, b Step) int { return a.At.Compare(b.At) })
	slices.SortFunc(r.Processes, func(a, b Process) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Since.Compare(b.Since)) })
	return r
}

// ask adds to r what the others know.
func (d *Desk) ask(ctx context.Context, messageID string, r *Report) error {
	q := question{MessageID: messageID, Reply: AnswerSubject + chat.NewID()}
	var mu sync.Mutex // guards r and seen; a call of the subscription may outlive it
	open, seen := true, map[string]bool{}
	if d.rec != nil {
		seen[d.rec.run] = true
	}
	stop, err := d.signals.Subscribe(q.Reply, "", func(_ string, data []byte) {
		var a answer
		if json.Unmarshal(data, &a) != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if !open || d.rec != nil && a.Run == d.rec.run {
			return // too late, or this process itself
		}
		if !seen[a.Run] {
			seen[a.Run] = true
			r.Processes = append(r.Processes, a.Process)
		}
		r.Steps = append(r.Steps, a.Steps...)
	})
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	defer func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		open = false
	}()
	data, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode the question: %w", err)
	}
	if err := d.signals.Publish(Subject, data); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	wait := time.NewTimer(gather)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return nil
}

// ServeHTTP answers GET /trace/{messageId} with a Report: 200, or 404 if nobody knows of the message; 400 for what is no
// message's id, 503 when too many look-ups are under way. It belongs on the operations port.
func (d *Desk) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	id := req.PathValue("messageId")
	if !valid(id) {
		http.Error(w, "that is no message's id", http.StatusBadRequest)
		return
	}
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many look-ups are under way", http.StatusServiceUnavailable)
		return
	}
	r := d.Find(req.Context(), id)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if len(r.Steps) == 0 {
		w.WriteHeader(http.StatusNotFound)
	}
	_ = json.NewEncoder(w).Encode(r) // the client went away: nobody to tell
}
