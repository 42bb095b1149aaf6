package backbone

import (
	"context"
	"errors"
)

// The outcomes of a Request that are certain. Any other error, that of ctx included, means that it is not known whether
// the request was handled, and so does ErrSilent. ErrRefused says that it never left: it is too large, or the connection
// is down.
var (
	// ErrNoResponders says that nobody responds on the subject, so nobody got the request.
	ErrNoResponders = errors.New("backbone: nobody responds")
	// ErrBusy says that the responder which got the request has more to do than it may, and did nothing.
	ErrBusy = errors.New("backbone: the responder is busy")
	// ErrTooLarge says that the request was handled, but that its answer is larger than the server lets pass.
	ErrTooLarge = errors.New("backbone: the answer is too large")
	// ErrSilent says that nothing was heard of who took the request: it is dead, hangs or is cut off. Another may answer.
	ErrSilent = errors.New("backbone: no sign of life from who took the request")
)

// Header goes with a request or an answer. Keys are words, and values have no line ends. Keys that begin with
// "OceanChat-" are the backbone's own.
type Header map[string][]string

// Get returns the first value of key, or "".
func (h Header) Get(key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set makes value the only one of key. h must not be nil.
func (h Header) Set(key, value string) { h[key] = []string{value} }

// Envelope is a request or an answer. Who gets one owns it.
type Envelope struct {
	Header Header
	Data   []byte
}

// Responder answers requests.
type Responder struct {
	// Subject may not hold wildcards.
	Subject string
	// Group: of the responders of one group one gets each request. With "" every one does, and the first answer counts.
	Group string
	// Limit bounds the requests under way, 1 or more; what comes beyond it is answered with ErrBusy at once.
	Limit int
	// Handle returns the answer. It is called on a goroutine of its own for each request.
	Handle func(Envelope) Envelope
}

// Requests is request and reply by core NATS: nothing is stored, and nothing is sent twice. Implementations are safe
// for concurrent use and keep no argument of Request after it returned.
type Requests interface {
	// Request sends r to one responder of subject and returns its answer; it waits until ctx ends, or, with ErrSilent, until nothing was
	// heard of the responder for seconds: while it handles a request it gives signs of life, so its death, or the loss of its answer, is noticed long
	// before a deadline. A responder of a version that gives none has those seconds to answer.
	Request(ctx context.Context, subject string, r Envelope) (Envelope, error)
	// Respond begins to answer requests. When it returns, requests that are sent from now on arrive; while the connection
	// is down, once it is up again. stop takes no new ones, lets those that have arrived be handled, and returns when all
	// are answered or its ctx has ended; what then still runs goes on. It may be called more than once.
	Respond(r Responder) (stop func(ctx context.Context), err error)
}
