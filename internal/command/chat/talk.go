package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"
	"unicode"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
)

const (
	askTimeout   = 10 * time.Second
	pendingAfter = 2 * time.Second // a line without an answer is shown as waiting
	knownEvery   = 20 * time.Millisecond
	firstPage    = 10  // messages that are shown when a conversation is opened
	maxPending   = 100 // lines without an answer; further ones wait at the prompt
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
	lost int // lines that were not delivered or not obeyed

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
		c: c, scr: scr, opts: o, dead: make(chan struct{}), room: make(chan struct{}, maxPending), people: people{c: c, me: name(strings.ToLower(o.user)), names: map[string]string{}},
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
	if t.c.State().Phase == oceanchat.Online {
		t.say("%s is online at %s; /help tells what to type", name(t.opts.user), name(t.opts.addr))
	} else {
		t.say("%s can not be reached, trying on; lines that you type wait in %s", name(t.opts.addr), name(t.opts.state))
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	if err := t.lines(ctx); err != nil {
		return err
	}
	return t.flush(ctx)
}

// begin opens what --to names, or lists what there is.
func (t *talk) begin(ctx context.Context) error {
	if t.opts.to == "" {
		t.cmdList()
		return nil
	}
	patience := askTimeout
	if t.c.State().Phase != oceanchat.Online {
		patience = min(patience, t.opts.wait)
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := t.cmdOpen(asking, []string{t.opts.to})
	switch {
	case errors.Is(err, errSeveral) && t.scr.echoes(): // they are on the screen, to choose from
		t.say("%s", name(err.Error()))
		return nil
	case err != nil:
		return fmt.Errorf("--to %s: %s", t.opts.to, wording(err))
	}
	return nil
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
			if quit, err := t.typed(ctx, in.line); quit || err != nil {
				return err
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

// typed acts on one line; true ends the talk. An error says that there is no use in reading on.
func (t *talk) typed(ctx context.Context, line string) (quit bool, err error) {
	line = strings.TrimSpace(line)
	if line == "" {
		return false, nil
	}
	if text, ok := strings.CutPrefix(line, "//"); ok { // a text that begins with a slash
		return false, t.send(ctx, "/"+text)
	}
	if !strings.HasPrefix(line, "/") {
		return false, t.send(ctx, line)
	}
	words, err := split(line)
	if err != nil {
		t.failed("%s", name(err.Error()))
		return false, nil
	}
	switch words[0] {
	case "/quit", "/exit":
		return true, nil
	case "/list":
		t.cmdList()
		return false, nil
	case "/help":
		t.scr.print(helpText)
		return false, nil
	}
	do := t.commands()[words[0]]
	if do == nil {
		t.failed("no such command: %s; /help lists them, and // begins a text with a slash", name(words[0]))
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := do(ctx, words[1:]); err != nil {
		t.failed("%s: %s", words[0][1:], name(wording(err)))
	}
	return false, nil
}

// failed says that a line was not delivered or not obeyed, and counts it for the exit code.
func (t *talk) failed(format string, args ...any) {
	t.mu.Lock()
	t.lost++
	t.mu.Unlock()
	t.say(format, args...)
}

// split returns the words of a command. Double quotes keep a name with spaces together.
func split(line string) ([]string, error) {
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if rest, quoted := strings.CutPrefix(line, `"`); quoted {
			word, after, closed := strings.Cut(rest, `"`)
			if !closed {
				return nil, errors.New("a quotation mark is missing")
			}
			words, line = append(words, word), after
			continue
		}
		end := strings.IndexFunc(line, unicode.IsSpace)
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words, nil
}

// wording is what a failure is called.
func wording(err error) string {
	var e *oceanchat.Error
	switch {
	case errors.As(err, &e):
		return cmp.Or(e.Message, e.Reason, e.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer from the server yet"
	}
	return err.Error()
}

// send puts a line into the outbox and tells its fate if that is not the usual one. It waits for room; without a terminal
// no longer than the end would.
func (t *talk) send(ctx context.Context, text string) error {
	t.mu.Lock()
	open := t.open
	t.mu.Unlock()
	if open == nil {
		t.failed("not sent: %s: no conversation is open; /open NAME opens one", name(text))
		return nil
	}
	patience, cancel := context.WithCancel(ctx)
	if !t.scr.echoes() {
		patience, cancel = context.WithTimeout(ctx, t.opts.wait)
	}
	defer cancel()
	select {
	case t.room <- struct{}{}:
	case <-t.dead:
		return t.ended()
	case <-patience.Done():
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%d lines are not sent yet after %v; not sent, and not read on from: %s", maxPending, t.opts.wait, text)
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
		t.failed("not sent: %s: %s", name(text), name(wording(err)))
		return nil
	}
	t.wg.Go(func() {
		t.await(ctx, open, out, text)
		<-t.room
	})
	return nil
}

// await tells when a line has to wait, when it has gone out after all, and when it will not.
func (t *talk) await(ctx context.Context, open *place, out *oceanchat.Outgoing, text string) {
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
	case errors.Is(err, oceanchat.ErrPending): // the end tells
	case errors.As(err, &refused):
		t.failed("not sent: %s: %s", text, name(wording(refused)))
		_ = t.c.Discard(out.ID())
	case err == nil && late:
		t.say("sent: %s", text)
	}
	if err == nil && t.opts.state != "" {
		t.learned(ctx, open)
	}
}

// learned waits until the client knows what a conversation is that an entry told of: so that its title counts, and that
// the file has it for a start without the server.
func (t *talk) learned(ctx context.Context, p *place) {
	ctx, cancel := context.WithTimeout(ctx, pendingAfter)
	defer cancel()
	looks := time.NewTicker(knownEvery)
	defer looks.Stop()
	for p.Info().GetKind() == queryv1.ConversationKind_CONVERSATION_KIND_UNSPECIFIED {
		select {
		case <-looks.C:
		case <-ctx.Done():
			return
		}
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
		return fmt.Errorf("lines not sent yet: %d; the next start with --state %s sends them", n, t.opts.state)
	case n > 0:
		return fmt.Errorf("lines not sent: %d", n)
	case lost > 0 && !t.scr.echoes():
		return fmt.Errorf("lines that were not delivered or not obeyed: %d", lost)
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
		return nil
	}
	return err
}

// watch tells when the connection is lost and when it is back.
func (t *talk) watch(ctx context.Context) {
	away := t.c.State().Phase != oceanchat.Online
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

// newest returns the newest messages of a conversation. One that nobody has said anything in has none. While the server is
// away it is those that the file has.
func (t *talk) newest(ctx context.Context, p *place, n int) (r *queryv1.EntriesResponse, lines []string, err error) {
	limit := int32(n)
	if t.c.State().Phase != oceanchat.Online {
		r = &queryv1.EntriesResponse{}
		if r.Entries, err = p.Held(ctx, n); err == nil && len(r.Entries) > 0 {
			r.ToSeq = r.Entries[len(r.Entries)-1].GetSeq()
		}
		return r, t.people.lines(ctx, r.GetEntries()), err
	}
	r, err = p.History(ctx, &queryv1.HistoryRequest{Limit: &limit})
	if err != nil && !oceanchat.IsReason(err, "NOT_FOUND") {
		return r, nil, err
	}
	return r, t.people.lines(ctx, r.GetEntries()), nil
}
