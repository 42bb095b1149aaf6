package jetstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// What may wait in this process for a responder. It is taken up at once, so this is for bursts only; of what is dropped
// the callers know no outcome.
const (
	pendingRequests     = 16 << 10
	pendingRequestBytes = 256 << 20
)

// headerRefused is in the header of what is no answer: one of the two words below.
const (
	headerRefused   = "OceanChat-Refused"
	refusedBusy     = "busy"
	refusedTooLarge = "answer-too-large"
)

var _ backbone.Requests = (*Backbone)(nil)

// Request implements backbone.Requests.
func (b *Backbone) Request(ctx context.Context, subject string, r backbone.Envelope) (backbone.Envelope, error) {
	if !b.conn.IsConnected() {
		return backbone.Envelope{}, fmt.Errorf("request to %s: connection is %s: %w", subject, b.conn.Status(), backbone.ErrRefused)
	}
	if most := b.conn.MaxPayload(); int64(len(r.Data)) > most {
		return backbone.Envelope{}, fmt.Errorf("request to %s: %d bytes; the server takes %d: %w", subject, len(r.Data), most, backbone.ErrRefused)
	}
	header := make(nats.Header, len(r.Header)+1)
	maps.Copy(header, r.Header)
	header.Set(headerSigns, "1")
	m, err := b.inbox.request(ctx, b.conn, &nats.Msg{Subject: subject, Header: header, Data: r.Data})
	if err == nil && nobodyThere(m) {
		err = nats.ErrNoResponders
	}
	if err != nil {
		return backbone.Envelope{}, fmt.Errorf("request to %s: %w", subject, requestError(err))
	}
	a := backbone.Envelope{Header: backbone.Header(m.Header), Data: m.Data}
	switch refused := a.Header.Get(headerRefused); refused {
	case "":
		return a, nil
	case refusedBusy:
		return backbone.Envelope{}, fmt.Errorf("request to %s: %w", subject, backbone.ErrBusy)
	case refusedTooLarge:
		return backbone.Envelope{}, fmt.Errorf("request to %s: %w", subject, backbone.ErrTooLarge)
	default: // of a newer version
		return backbone.Envelope{}, fmt.Errorf("request to %s: no answer but %q", subject, refused)
	}
}

// requestError tells what is certain from what is not. The driver returns these errors before it writes anything.
func requestError(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return backbone.ErrNoResponders
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrMaxPayload),
		errors.Is(err, nats.ErrBadSubject):
		return fmt.Errorf("%w: %w", backbone.ErrRefused, err)
	}
	return err
}

// Respond implements backbone.Requests.
func (b *Backbone) Respond(r backbone.Responder) (func(context.Context), error) {
	d := &responder{b: b, Responder: r, free: make(chan struct{}, max(r.Limit, 1)), closed: make(chan struct{})}
	sub, err := b.conn.QueueSubscribe(r.Subject, r.Group, d.take)
	if err != nil {
		return nil, fmt.Errorf("respond on %s: %w", r.Subject, err)
	}
	sub.SetClosedHandler(func(string) { close(d.closed) })
	if err := sub.SetPendingLimits(pendingRequests, pendingRequestBytes); err != nil {
		return nil, fmt.Errorf("bound requests on %s: %w", r.Subject, errors.Join(err, sub.Unsubscribe()))
	}
	b.flush(r.Subject)
	var once sync.Once
	return func(ctx context.Context) { once.Do(func() { d.stop(ctx, sub) }) }, nil
}

// flush makes sure that the server knows of a subscription before anything that is published from now on. While the
// connection is down that must wait: nats.go subscribes anew once it is up.
func (b *Backbone) flush(subject string) {
	if !b.conn.IsConnected() {
		return
	}
	if err := b.conn.FlushTimeout(callTimeout); err != nil {
		b.log.Warn("subscription not confirmed, reconnecting repeats it", "subject", subject, "err", err)
	}
}

// responder is one Respond.
type responder struct {
	backbone.Responder
	b      *Backbone
	free   chan struct{} // holds one for each request under way
	calls  sync.WaitGroup
	closed chan struct{} // take is not called any more
}

// take is called for one request at a time and must not wait.
func (d *responder) take(m *nats.Msg) {
	if m.Reply == "" {
		return // nobody asked
	}
	select {
	case d.free <- struct{}{}:
	default:
		d.refuse(m, refusedBusy)
		return
	}
	d.calls.Add(1)
	go d.handle(m)
}

func (d *responder) handle(m *nats.Msg) {
	defer func() {
		<-d.free
		d.calls.Done()
	}()
	done := d.b.signsOf(m)
	a := d.Handle(backbone.Envelope{Header: backbone.Header(m.Header), Data: m.Data})
	done()
	err := d.b.conn.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header(a.Header), Data: a.Data})
	if errors.Is(err, nats.ErrMaxPayload) {
		d.b.log.Error("answer is larger than the server's max_payload", "subject", m.Subject, "bytes", len(a.Data))
		d.refuse(m, refusedTooLarge)
		return
	}
	if err != nil {
		d.b.log.Warn("answer not sent", "subject", m.Subject, "err", err)
	}
}

func (d *responder) refuse(m *nats.Msg, word string) {
	if err := d.b.conn.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{headerRefused: {word}}}); err != nil {
		d.b.log.Debug("refusal not sent", "subject", m.Subject, "err", err)
	}
}

// stop waits for what the server had sent before it took notice, and then for what is under way.
func (d *responder) stop(ctx context.Context, sub *nats.Subscription) {
	if err := sub.Drain(); err != nil {
		_ = sub.Unsubscribe() // the connection is closed, and nothing comes any more
	}
	select {
	case <-d.closed:
	case <-ctx.Done():
		_ = sub.Unsubscribe()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.calls.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return
	}
	if d.b.conn.IsConnected() { // the last answers leave before the process does
		_ = d.b.conn.FlushWithContext(ctx)
	}
}
