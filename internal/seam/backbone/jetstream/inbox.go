package jetstream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// A request that is at work for long is answered with signs of life until it is done, one each signEvery; a caller that has heard nothing
// for silence gives up: whoever took its request is dead, hangs or is cut off, and would be noticed by the deadline only. What is answered
// sooner costs no sign. The driver lets the first answer pass and no other, so the waiting is done here.
const (
	signEvery = 500 * time.Millisecond
	silence   = 2 * time.Second
)

// headerSigns in a request asks for signs of life; in what comes back it says that this is one, and no answer.
const headerSigns = "OceanChat-Signs"

// inbox is where the answers to this process's requests arrive: one subscription for all of them.
type inbox struct {
	silence time.Duration
	last    atomic.Uint64 // names of requests, counted

	mu      sync.Mutex // guards below
	subject string     // "" until the first request
	waiting map[string]*asked
}

// asked is one request that waits.
type asked struct {
	answer chan *nats.Msg // holds one
	alive  atomic.Bool    // a sign came
}

// request publishes m and waits for its answer, until ctx ends or nothing is heard.
func (i *inbox) request(ctx context.Context, conn *nats.Conn, m *nats.Msg) (*nats.Msg, error) {
	id := strconv.FormatUint(i.last.Add(1), 36)
	q, reply, err := i.expect(conn, id)
	if err != nil {
		return nil, err
	}
	defer i.forget(id)
	m.Reply = reply
	if err := conn.PublishMsg(m); err != nil {
		return nil, err
	}
	quiet := time.NewTimer(i.silence)
	defer quiet.Stop()
	for {
		select {
		case got := <-q.answer:
			return got, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-quiet.C:
			if !q.alive.Swap(false) {
				return nil, fmt.Errorf("%w for %s", backbone.ErrSilent, i.silence)
			}
			quiet.Reset(i.silence)
		}
	}
}

// expect makes a place for an answer.
func (i *inbox) expect(conn *nats.Conn, id string) (*asked, string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.subject == "" {
		subject := conn.NewInbox()
		if _, err := conn.Subscribe(subject+".*", i.take); err != nil {
			return nil, "", err
		}
		i.subject, i.waiting = subject, map[string]*asked{}
	}
	q := &asked{answer: make(chan *nats.Msg, 1)}
	i.waiting[id] = q
	return q, i.subject + "." + id, nil
}

func (i *inbox) forget(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.waiting, id)
}

// take is called for one message at a time and does not wait. What nobody waits for any more is dropped.
func (i *inbox) take(m *nats.Msg) {
	id := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	i.mu.Lock()
	q := i.waiting[id]
	i.mu.Unlock()
	if q == nil {
		return
	}
	if m.Header.Get(headerSigns) != "" {
		q.alive.Store(true)
		return
	}
	select {
	case q.answer <- m:
	default: // a second answer: where no group is, every responder gives one
	}
}

// nobodyThere tells the server's word that nobody responds from an answer.
func nobodyThere(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get("Status") == "503" }

// signsOf begins to give the caller of m signs of life, if it asked for them, and takes what asked out of m. done ends it.
func (b *Backbone) signsOf(m *nats.Msg) (done func()) {
	if m.Header.Get(headerSigns) == "" {
		return func() {}
	}
	m.Header.Del(headerSigns)
	ended := make(chan struct{})
	late := time.AfterFunc(b.signEvery, func() { b.giveSigns(m.Reply, ended) })
	return func() {
		late.Stop()
		close(ended)
	}
}

func (b *Backbone) giveSigns(reply string, ended <-chan struct{}) {
	tick := time.NewTicker(b.signEvery)
	defer tick.Stop()
	for {
		_ = b.conn.PublishMsg(&nats.Msg{Subject: reply, Header: nats.Header{headerSigns: {"1"}}}) // the next one is soon
		select {
		case <-ended:
			return
		case <-tick.C:
		}
	}
}
