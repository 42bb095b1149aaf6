// Package apns sends notifications through Apple's push service: HTTP/2, one request per device, signed by a provider
// token.
//
// It is our own small client over net/http, not github.com/sideshow/apns2, for four reasons: that one cannot
// send "apns-expiration: 0" (now or never), hides Retry-After, renews its token by the wall clock of the machine with
// signing errors swallowed, and brings an old JWT library. Only its payload builder would be left, and that is the struct
// in payload.go. Signing is golang-jwt's.
//
// It never retries over time and never sends a text or a whole token to a log or an error. It keeps these invariants: a
// provider token is made at most once in 20 minutes, however many requests are under way, as Apple refuses more; a
// request is repeated at most once after a refused provider token, and once in the other environment after
// BadDeviceToken; a payload has at most 4096 bytes.
package apns

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

const (
	productionEndpoint = "https://api.push.apple.com"
	sandboxEndpoint    = "https://api.sandbox.push.apple.com"
	defaultTimeout     = 8 * time.Second
	defaultConcurrency = 100
	maxPayload         = 4096
)

// Config is the "apns" section of the configuration. Without any credential the vendor is off.
type Config struct {
	Endpoint        string        `yaml:"endpoint" default:"https://api.push.apple.com" doc:"Where notifications for production tokens go."`
	SandboxEndpoint string        `yaml:"sandbox_endpoint" default:"https://api.sandbox.push.apple.com" doc:"Where notifications for sandbox tokens go."`
	KeyFile         string        `yaml:"key_file" doc:"The .p8 file of the provider token's key; empty turns APNs off."`
	KeyID           string        `yaml:"key_id" doc:"The id of that key, 10 characters."`
	TeamID          string        `yaml:"team_id" doc:"The id of the developer team, 10 characters."`
	Topic           string        `yaml:"topic" doc:"The bundle id of the app."`
	CAFile          string        `yaml:"ca_file" doc:"PEM file of a certificate authority to trust besides the system's."`
	Timeout         time.Duration `yaml:"timeout" default:"8s" min:"1s" max:"60s" doc:"How long one request may take, with connecting."`
	Concurrency     int           `yaml:"concurrency" default:"100" min:"1" max:"1000" doc:"How many requests are under way at most."`
}

// Sender is the adapter. It is safe for concurrent use.
type Sender struct {
	production, sandbox string
	topic               string
	timeout             time.Duration
	client              *http.Client
	now                 func() time.Time
	tokens              *tokens
	slots               chan struct{}
}

var _ vendorapi.Sender = (*Sender)(nil)

// New returns a Sender that connects at its first Send. It reads the key, from o.Key or cfg.KeyFile, once. The error is
// vendorapi.ErrNotConfigured if cfg holds no credential, else it names the setting that is missing or wrong.
func New(cfg Config, o vendorapi.Options) (*Sender, error) {
	if cfg.KeyFile == "" && len(o.Key) == 0 && cfg.KeyID == "" && cfg.TeamID == "" {
		return nil, fmt.Errorf("apns: %w", vendorapi.ErrNotConfigured)
	}
	s, err := newSender(cfg, o)
	if err != nil {
		return nil, fmt.Errorf("apns: %w", err)
	}
	return s, nil
}

func newSender(cfg Config, o vendorapi.Options) (*Sender, error) {
	if missing := missing(cfg, o); missing != "" {
		return nil, errors.New(missing + " is missing")
	}
	key, err := o.Secret(cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	production, err := vendorapi.CheckEndpoint(cmp.Or(cfg.Endpoint, productionEndpoint))
	if err != nil {
		return nil, err
	}
	sandbox, err := vendorapi.CheckEndpoint(cmp.Or(cfg.SandboxEndpoint, sandboxEndpoint))
	if err != nil {
		return nil, err
	}
	toks, err := newTokens(key, cfg.KeyID, cfg.TeamID, o.Clock())
	if err != nil {
		return nil, err
	}
	client, err := o.NewClient(cfg.CAFile, true)
	if err != nil {
		return nil, err
	}
	return &Sender{
		production: production, sandbox: sandbox, topic: cfg.Topic,
		timeout: cmp.Or(cfg.Timeout, defaultTimeout), client: client, now: o.Clock(), tokens: toks,
		slots: make(chan struct{}, cmp.Or(cfg.Concurrency, defaultConcurrency)),
	}, nil
}

// missing returns the setting without which the others are of no use, or "".
func missing(cfg Config, o vendorapi.Options) string {
	switch "" {
	case cfg.KeyFile + string(o.Key):
		return "key_file"
	case cfg.KeyID:
		return "key_id"
	case cfg.TeamID:
		return "team_id"
	case cfg.Topic:
		return "topic"
	}
	return ""
}

// Name returns "apns".
func (s *Sender) Name() string { return "apns" }

// Caps returns what APNs can do. Silent kinds are best effort: a device takes about three an hour.
func (s *Sender) Caps() vendorapi.Caps {
	return vendorapi.Caps{MaxItems: 500, MaxPayload: maxPayload, Badge: true, Replace: true, Silent: true, Backoff: time.Second}
}

// Close closes idle connections. It does not wait for a Send that is under way.
func (s *Sender) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Send tries each item once, see vendorapi.Sender.
func (s *Sender) Send(ctx context.Context, items []vendorapi.Item) []vendorapi.Outcome {
	return vendorapi.Each(ctx, s.slots, items, s.send)
}

var (
	errToken = errors.New("apns: device token is not hexadecimal")
	errTopic = errors.New("apns: app id of the target is not the configured topic")
)

func (s *Sender) send(ctx context.Context, it vendorapi.Item) vendorapi.Outcome {
	began := s.now()
	// Both are checked here, since clients choose them: a token could otherwise change the path, and a foreign topic
	// would come back as TopicDisallowed, which stops the vendor for everyone.
	if !validToken(it.Target.Token) {
		o := vendorapi.Failed(vendorapi.TokenDead, errToken)
		o.DeadAt = began
		return o
	}
	if it.Target.AppID != "" && it.Target.AppID != s.topic {
		return vendorapi.Failed(vendorapi.Rejected, errTopic)
	}
	body, err := payload(it.Notification)
	if err != nil {
		return vendorapi.Failed(vendorapi.Rejected, fmt.Errorf("apns: %w", err))
	}
	m := message{token: it.Target.Token, headers: headers(it.Notification, s.topic), body: body}
	home, other, otherEnv := s.production, s.sandbox, vendorapi.Sandbox
	if it.Target.Environment == vendorapi.Sandbox {
		home, other, otherEnv = s.sandbox, s.production, vendorapi.Production
	}
	o := s.try(ctx, home, m)
	if o.VendorCode == badDeviceToken && home != other {
		o = s.tryOther(ctx, other, otherEnv, m, o)
	}
	if o.Class == vendorapi.TokenDead && o.DeadAt.IsZero() {
		o.DeadAt = began
	}
	return o
}

// tryOther sends m to the other environment after first said that the token is none of its own. Only if that accepts
// it, or leaves the question open, does its answer count.
func (s *Sender) tryOther(ctx context.Context, base string, env vendorapi.Environment, m message, first vendorapi.Outcome) vendorapi.Outcome {
	o := s.try(ctx, base, m)
	switch {
	case o.Class == vendorapi.Accepted:
		o.Environment = env
		return o
	case o.Class.Retry():
		return o
	}
	return first
}

type message struct {
	token   string
	headers http.Header
	body    []byte
}

// try posts m, and once more with a renewed provider token if the first one was too old.
func (s *Sender) try(ctx context.Context, base string, m message) vendorapi.Outcome {
	tok, err := s.tokens.current()
	if err != nil {
		return vendorapi.Failed(vendorapi.Misconfigured, err)
	}
	o := s.post(ctx, base, m, tok)
	if o.Class != vendorapi.AuthExpired {
		return o
	}
	next, wait, err := s.tokens.renew(tok)
	switch {
	case err != nil:
		return vendorapi.Failed(vendorapi.Misconfigured, err)
	case wait > 0:
		o.RetryAfter = max(o.RetryAfter, wait)
		return o
	}
	if o = s.post(ctx, base, m, next); o.Class == vendorapi.AuthExpired {
		o.Class = vendorapi.Misconfigured // a fresh token is too old: our clock is wrong
	}
	return o
}

func (s *Sender) post(ctx context.Context, base string, m message, tok token) vendorapi.Outcome {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/3/device/"+m.token, bytes.NewReader(m.body))
	if err != nil {
		return vendorapi.Failed(vendorapi.Misconfigured, errors.New("apns: endpoint makes no valid address"))
	}
	r.Header = m.headers.Clone()
	r.Header.Set("Authorization", "bearer "+tok.signed)
	a, o, ok := vendorapi.Do(s.client, r)
	if !ok {
		return o
	}
	return s.read(a)
}

func (s *Sender) read(a vendorapi.Answer) vendorapi.Outcome {
	id := a.Header.Get("apns-id")
	if a.Status == http.StatusOK {
		return vendorapi.Outcome{Class: vendorapi.Accepted, VendorID: id}
	}
	var body struct {
		Reason    string `json:"reason"`
		Timestamp int64  `json:"timestamp"` // ms
	}
	_ = json.Unmarshal(a.Body, &body) // the status alone decides if it is unreadable
	reason := cleanReason(body.Reason)
	o := vendorapi.Outcome{
		Class: classify(a.Status, reason), VendorID: id, VendorCode: reason, RetryAfter: a.RetryAfter(s.now()),
		Err: fmt.Errorf("apns: %d %s", a.Status, reason),
	}
	if o.Class == vendorapi.TokenDead && body.Timestamp > 0 {
		o.DeadAt = time.UnixMilli(body.Timestamp)
	}
	return o
}

// cleanReason keeps what looks like a reason; anything else could be text that a proxy echoes.
func cleanReason(s string) string {
	letter := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return !letter(r) }) {
		return ""
	}
	return s
}

func validToken(s string) bool {
	if s == "" || len(s) > 400 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
