// Package fcm sends notifications through Google's Firebase Cloud Messaging, HTTP v1: one request per device, with a
// bearer that a service account's key buys (golang.org/x/oauth2/jwt).
//
// The Firebase SDK was rejected: it brings gRPC and Firestore for one endpoint, and retries by itself. So was
// golang.org/x/oauth2/google, which would add a metadata client for what is six fields of a JSON file.
//
// It never retries over time and never sends a text or a whole token to a log or an error. It keeps these invariants:
// one bearer is fetched at a time, and exactly one after a refusal, however many requests are under way; a request is
// repeated at most once, after a refused bearer; a message has at most 4096 bytes.
package fcm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

const (
	defaultEndpoint    = "https://fcm.googleapis.com"
	defaultTimeout     = 8 * time.Second
	defaultConcurrency = 50
	maxPayload         = 4096
	quotaPause         = time.Minute // the least that Google asks for after 429
)

// Config is the "fcm" section of the configuration. Without a service account the vendor is off.
type Config struct {
	ServiceAccountFile string        `yaml:"service_account_file" doc:"The JSON key file of the Firebase project's service account; empty turns FCM off."`
	Endpoint           string        `yaml:"endpoint" default:"https://fcm.googleapis.com" doc:"Where messages go; bearers come from the token_uri of the key file."`
	CAFile             string        `yaml:"ca_file" doc:"PEM file of a certificate authority to trust besides the system's."`
	Timeout            time.Duration `yaml:"timeout" default:"8s" min:"1s" max:"60s" doc:"How long one request may take, with connecting."`
	Concurrency        int           `yaml:"concurrency" default:"50" min:"1" max:"1000" doc:"How many requests are under way at most."`
}

// Sender is the adapter. It is safe for concurrent use.
type Sender struct {
	sendURL string
	timeout time.Duration
	client  *http.Client
	now     func() time.Time
	bearers *bearers
	slots   chan struct{}
}

var _ vendorapi.Sender = (*Sender)(nil)

// New returns a Sender that connects at its first Send. It reads the service account, from o.Key or the configured file,
// once. The error is vendorapi.ErrNotConfigured if there is none, else it names what is wrong.
func New(cfg Config, o vendorapi.Options) (*Sender, error) {
	s, err := newSender(cfg, o)
	if err != nil {
		return nil, fmt.Errorf("fcm: %w", err)
	}
	return s, nil
}

func newSender(cfg Config, o vendorapi.Options) (*Sender, error) {
	raw, err := o.Secret(cfg.ServiceAccountFile)
	if err != nil {
		return nil, err
	}
	acc, err := parseAccount(raw)
	if err != nil {
		return nil, err
	}
	base, err := vendorapi.CheckEndpoint(cmp.Or(cfg.Endpoint, defaultEndpoint))
	if err != nil {
		return nil, err
	}
	client, err := o.NewClient(cfg.CAFile, false)
	if err != nil {
		return nil, err
	}
	timeout := cmp.Or(cfg.Timeout, defaultTimeout)
	return &Sender{
		sendURL: base + "/v1/projects/" + url.PathEscape(acc.ProjectID) + "/messages:send",
		timeout: timeout, client: client, now: o.Clock(),
		bearers: newBearers(acc, client, o.Clock(), timeout*5/8),
		slots:   make(chan struct{}, cmp.Or(cfg.Concurrency, defaultConcurrency)),
	}, nil
}

// Name returns "fcm".
func (s *Sender) Name() string { return "fcm" }

// Caps returns what FCM can do.
func (s *Sender) Caps() vendorapi.Caps {
	return vendorapi.Caps{
		MaxItems: 500, MaxPayload: maxPayload, Badge: true, Replace: true, Silent: true, Backoff: 10 * time.Second,
	}
}

// Close closes idle connections. It does not wait for a Send that is under way.
func (s *Sender) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

var errNoToken = errors.New("fcm: target has no token")

// Send tries each item once, see vendorapi.Sender.
func (s *Sender) Send(ctx context.Context, items []vendorapi.Item) []vendorapi.Outcome {
	return vendorapi.Each(ctx, s.slots, items, s.send)
}

func (s *Sender) send(ctx context.Context, it vendorapi.Item) vendorapi.Outcome {
	began := s.now()
	if it.Target.Token == "" {
		return vendorapi.Outcome{Class: vendorapi.TokenDead, DeadAt: began, Err: errNoToken}
	}
	body, err := payload(it, began)
	if err != nil {
		return vendorapi.Failed(vendorapi.Rejected, fmt.Errorf("fcm: %w", err))
	}
	o := s.try(ctx, body)
	if o.Class == vendorapi.TokenDead {
		o.DeadAt = began // Google does not say when
	}
	return o
}

// try posts body, and once more with another bearer if the first one was refused.
func (s *Sender) try(ctx context.Context, body []byte) vendorapi.Outcome {
	b, o := s.bearer(ctx, "")
	if b == "" {
		return o
	}
	if o = s.post(ctx, body, b); o.Class != vendorapi.AuthExpired {
		return o
	}
	next, failed := s.bearer(ctx, b)
	if next == "" {
		return failed
	}
	if o = s.post(ctx, body, next); o.Class == vendorapi.AuthExpired {
		o.Class = vendorapi.Misconfigured
	}
	return o
}

// bearer returns a bearer that is not refused, or "" and the outcome.
func (s *Sender) bearer(ctx context.Context, refused string) (string, vendorapi.Outcome) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	b, err := s.bearers.get(ctx, refused)
	switch {
	case err == nil:
		return b, vendorapi.Outcome{}
	case errors.Is(err, errRefused):
		return "", vendorapi.Failed(vendorapi.Misconfigured, err)
	}
	return "", vendorapi.Failed(vendorapi.Transient, err)
}

func (s *Sender) post(ctx context.Context, body []byte, bearer string) vendorapi.Outcome {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.sendURL, bytes.NewReader(body))
	if err != nil {
		return vendorapi.Failed(vendorapi.Misconfigured, errors.New("fcm: endpoint makes no valid address"))
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+bearer)
	a, o, ok := vendorapi.Do(s.client, r)
	if !ok {
		return o
	}
	return s.read(a)
}

func (s *Sender) read(a vendorapi.Answer) vendorapi.Outcome {
	var body answer
	err := json.Unmarshal(a.Body, &body)
	if a.Status == http.StatusOK {
		if err != nil || body.Name == "" { // some proxy's page: whether FCM got the message is not known
			o := vendorapi.Failed(vendorapi.Transient, errors.New("fcm: 200 without a message name"))
			o.MaybeSent = true
			return o
		}
		return vendorapi.Outcome{Class: vendorapi.Accepted, VendorID: body.Name}
	}
	code := body.code()
	o := vendorapi.Outcome{
		Class: classify(a.Status, body), VendorCode: code, RetryAfter: a.RetryAfter(s.now()),
		Err: fmt.Errorf("fcm: %d %s", a.Status, code), // not Google's message, which may quote ours
	}
	if o.Class == vendorapi.Throttled && o.RetryAfter == 0 {
		o.RetryAfter = quotaPause
	}
	return o
}
