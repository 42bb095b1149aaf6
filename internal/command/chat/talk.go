package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
)

const (
	askTimeout   = 10 * time.Second
	pendingAfter = 2 * time.Second // a line without an answer is shown as waiting
	firstPage    = 10              // messages that are shown when a conversation is opened
	maxPending   = 100             // lines without an answer; further ones wait at the prompt
)

// talk is one run of the client: a reader of lines, a loop over entries, and what both print.
type talk struct {
	c    *oceanchat.Client
	scr  screen
	opts options
	wg   sync.WaitGroup
	dead chan struct{} // closed when the client is, for good
	room chan struct{} // a token for each line without an answer

	people people

	mu   sync.Mutex // guards below
	open *place     // nil: none
	list []string   // the conversations as last listed
	mine map[string]bool
	lost int // lines that were refused

	// By conversation: up to where entries were printed, have come, and are to be marked as read.
	shown, passed, seen map[string]uint64

	mark chan struct{} // has a token when seen has something new
}

// place is a conversation that is open.
type place struct {
	*oceanchat.Conversation
	id, title string
}

func newTalk(c *oceanchat.Client, scr screen, o options) *talk {
	return &talk{
		c: c, scr: scr, opts: o, dead: make(chan struct{}), room: make(chan struct{}, maxPending), people: people{c: c, names: map[string]string{}},
		shown: map[string]uint64{}, passed: map[string]uint64{}, seen: map[string]uint64{}, mark: make(chan struct{}, 1), mine: map[string]bool{},
	}
}

// say prints a line of the client's own.
func (t *talk) say(format string, args ...any) { t.scr.print("* " + fmt.Sprintf(format, args...)) }

// run talks until the input or ctx ends, or the client is closed for good.
func (t *talk) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer t.wg.Wait()
	defer cancel()
	entries := t.c.Entries(ctx, oceanchat.Live) // from here on nothing that is said is missed
	t.wg.Go(func() { t.listen(ctx, entries) })
	t.wg.Go(func() { t.watch(ctx) })
	t.wg.Go(func() { t.markRead(ctx) })
	t.say("%s is online at %s; /help tells what to type", name(t.opts.user), name(t.opts.addr))
	if t.opts.to != "" {
		if err := t.cmdOpen(ctx, []string{t.opts.to}); err != nil {
			return err
		}
	} else {
		t.cmdList()
	}
	if err := t.lines(ctx); err != nil {
		return err
	}
	return t.flush(ctx)
}

// lines takes what is typed. Reading can not be interrupted, so its goroutine may outlive the talk until the process ends.
func (t *talk) lines(ctx context.Context) error {
	type typed struct {
		line string
		err  error
	}
	next := make(chan typed)
	go func() {
		for {
			line, err := t.scr.line()
			select {
			case next <- typed{line, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case in := <-next:
			switch {
			case errors.Is(in.err, io.EOF):
				return nil
			case in.err != nil:
				return in.err
			}
			if quit := t.typed(ctx, in.line); quit {
				return nil
			}
		case <-t.dead:
			return t.ended()
		}
	}
}

// ended says why the client is closed.
func (t *talk) ended() error {
	st := t.c.State()
	switch st.Reason {
	case oceanchat.Replaced:
		return errors.New("this device is connected elsewhere")
	case oceanchat.SessionEnded:
		return errors.New("the session was ended; log in again")
	default:
		return &oceanchat.ClosedError{Reason: st.Reason, Err: st.Err}
	}
}

// typed acts on one line; true ends the talk.
func (t *talk) typed(ctx context.Context, line string) (quit bool) {
	line = strings.TrimSpace(line)
	if line == "" {
		return false
	}
	if text, ok := strings.CutPrefix(line, "//"); ok { // a text that begins with a slash
		t.send(ctx, "/"+text)
		return false
	}
	if !strings.HasPrefix(line, "/") {
		t.send(ctx, line)
		return false
	}
	words := strings.Fields(line)
	switch words[0] {
	case "/quit", "/exit":
		return true
	case "/list":
		t.cmdList()
		return false
	case "/help":
		t.scr.print(helpText)
		return false
	}
	do := t.commands()[words[0]]
	if do == nil {
		t.say("no such command; /help lists them, and // begins a text with a slash")
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := do(ctx, words[1:]); err != nil {
		t.say("%s: %s", words[0][1:], name(wording(err)))
	}
	return false
}

// wording is what a failure is called.
func wording(err error) string {
	var e *oceanchat.Error
	switch {
	case errors.As(err, &e):
		return e.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer from the server yet"
	}
	return err.Error()
}

// send puts a line into the outbox and tells its fate if that is not the usual one.
func (t *talk) send(ctx context.Context, text string) {
	t.mu.Lock()
	open := t.open
	t.mu.Unlock()
	if open == nil {
		t.say("no conversation is open; /open NAME opens one")
		return
	}
	select {
	case t.room <- struct{}{}:
	case <-ctx.Done():
		return
	}
	m := oceanchat.Text(text)
	t.mu.Lock() // the entry may come before Enqueue returns
	out, err := open.Enqueue(ctx, m)
	if err == nil {
		t.mine[out.ID()] = true
	}
	t.mu.Unlock()
	if err != nil {
		<-t.room
		t.say("not sent: %s", name(wording(err)))
		return
	}
	t.wg.Go(func() {
		t.await(ctx, out, text)
		<-t.room
	})
}

// await tells when a line has to wait, when it has gone out after all, and when it will not.
func (t *talk) await(ctx context.Context, out *oceanchat.Outgoing, text string) {
	text = name(text)
	soon, cancel := context.WithTimeout(ctx, pendingAfter)
	_, err := out.Wait(soon)
	cancel()
	late := errors.Is(err, oceanchat.ErrPending) && ctx.Err() == nil && t.c.State().Phase != oceanchat.Closed
	if late {
		t.say("pending: %s", text)
		_, err = out.Wait(ctx)
	}
	var refused *oceanchat.Error
	switch {
	case errors.As(err, &refused):
		t.say("not sent: %s: %s", text, name(refused.Message))
		_ = t.c.Discard(out.ID())
		t.mu.Lock()
		t.lost++
		t.mu.Unlock()
	case err == nil && late:
		t.say("sent: %s", text)
	}
}

// flush waits for what is not sent yet, by an earlier run too.
func (t *talk) flush(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, t.opts.wait)
	defer cancel()
	err := t.c.Flush(waiting)
	for range cap(t.room) { // all tokens at once: of each line it was told what became of it
		select {
		case t.room <- struct{}{}:
			continue
		case <-waiting.Done():
		}
		break
	}
	n := 0
	for _, q := range t.c.Outbox() {
		if q.Err == nil {
			n++
		}
	}
	t.mu.Lock()
	lost := t.lost
	t.mu.Unlock()
	switch {
	case n > 0 && t.opts.state != "":
		t.say("%d not sent yet; the next start with this file sends them", n)
		return nil
	case n > 0:
		return fmt.Errorf("lines not sent: %d", n)
	case lost > 0 && !t.scr.echoes():
		return fmt.Errorf("lines refused: %d", lost)
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
		return nil
	}
	return err
}

// watch tells when the connection is lost and when it is back.
func (t *talk) watch(ctx context.Context) {
	away := false
	for st := range t.c.States(ctx) {
		switch {
		case st.Phase == oceanchat.Closed:
			close(t.dead)
		case st.Phase == oceanchat.Waiting && !away:
			away = true
			t.say("connection lost, trying again; lines that you type wait")
		case st.Phase == oceanchat.Online && away:
			away = false
			t.say("connected again")
		}
	}
}

// listen prints entries as they come.
func (t *talk) listen(ctx context.Context, entries iter.Seq2[*messagev1.Entry, error]) {
	for e, err := range entries {
		if err != nil {
			return // the client's state tells why
		}
		t.arrived(ctx, e)
	}
}

func (t *talk) arrived(ctx context.Context, e *messagev1.Entry) {
	line := t.people.line(ctx, e)
	who := t.people.name(ctx, e.GetSenderId())
	id := e.GetConversationId()
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.GetSeq() <= t.shown[id] {
		return
	}
	t.passed[id] = e.GetSeq()
	own := e.GetSenderId() == t.c.UserID()
	switch {
	case line == "":
	case t.open != nil && t.open.id == id:
		t.shown[id] = e.GetSeq()
		if !t.mine[e.GetClientMsgId()] || !t.scr.echoes() {
			t.scr.print(line)
		}
		t.read(id, e.GetSeq())
	case own:
	case strings.HasPrefix(id, "i~"):
		t.scr.print(line)
		t.read(id, e.GetSeq())
	case strings.HasPrefix(id, "d~"):
		t.say("%s wrote to you (%d unread); /open %s", who, t.unread(id), who)
	default:
		t.say("%d unread in %s", t.unread(id), t.people.title(ctx, t.c.Conversation(oceanchat.ID(id)).Info()))
	}
	delete(t.mine, e.GetClientMsgId())
}

func (t *talk) unread(id string) uint64 { return t.c.Conversation(oceanchat.ID(id)).Info().GetUnread() }

// read notes what was shown. t.mu is held.
func (t *talk) read(id string, seq uint64) {
	t.seen[id] = max(t.seen[id], seq)
	select {
	case t.mark <- struct{}{}:
	default:
	}
}

// markRead tells the server what was shown, the newest only.
func (t *talk) markRead(ctx context.Context) {
	for {
		select {
		case <-t.mark:
		case <-ctx.Done():
			return
		}
		t.mu.Lock()
		seen := t.seen
		t.seen = map[string]uint64{}
		t.mu.Unlock()
		for id, seq := range seen {
			if t.c.Conversation(oceanchat.ID(id)).Info().GetRead().GetSeq() >= seq {
				continue
			}
			asking, cancel := context.WithTimeout(ctx, askTimeout)
			_ = t.c.Conversation(oceanchat.ID(id)).MarkRead(asking, seq) // the next entry's does it too
			cancel()
		}
	}
}

// page shows the newest messages of a conversation, and makes it the open one in the same step, so that each message is
// shown once: by this, or as it comes.
func (t *talk) page(ctx context.Context, p *place, n int) {
	for {
		r, lines, err := t.newest(ctx, p, n)
		if err != nil {
			t.say("history: %s", name(wording(err)))
		}
		t.mu.Lock()
		if err == nil && t.passed[p.id] > r.GetToSeq() && t.open != p { // one came meanwhile and was only told of
			t.mu.Unlock()
			continue
		}
		for _, line := range lines {
			t.scr.print(line)
		}
		t.open = p
		t.shown[p.id] = max(t.shown[p.id], r.GetToSeq())
		t.read(p.id, r.GetToSeq())
		t.mu.Unlock()
		return
	}
}

// newest returns the newest messages of a conversation. One that nobody has said anything in has none.
func (t *talk) newest(ctx context.Context, p *place, n int) (r *queryv1.EntriesResponse, lines []string, err error) {
	limit := int32(n)
	r, err = p.History(ctx, &queryv1.HistoryRequest{Limit: &limit})
	if err != nil && !oceanchat.IsReason(err, "NOT_FOUND") {
		return r, nil, err
	}
	for _, e := range r.GetEntries() {
		if line := t.people.line(ctx, e); line != "" {
			lines = append(lines, line)
		}
	}
	return r, lines, nil
}
