// Package auth is the target that owns accounts' credentials, sessions and the keys that tokens are made with (AUTH-1 to
// AUTH-4). It is the only issuer of tokens; profiles belong to user, which it asks by call.
//
// It keeps this: a session that ended is refused by the database at once, by the allow-list right after, and whatever of
// that was cut off by a crash is done again from the outbox, which holds each change's event until it is published. A
// refresh token has one effect. A password is never stored, logged or compared but as an argon2id hash, and hashing has
// a bound, so that a flood of log-ins costs a flood of refusals and not the process.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/token"
)

// Config is the "auth" section of the configuration.
type Config struct {
	AccessTTL    time.Duration `yaml:"access_ttl" default:"10m" min:"10s" max:"24h" doc:"How long an access token is valid."`
	RefreshTTL   time.Duration `yaml:"refresh_ttl" default:"720h" min:"1m" max:"17520h" doc:"How long a session lives without being refreshed."`
	RefreshGrace time.Duration `yaml:"refresh_grace" default:"60s" min:"1s" max:"10m" doc:"How long the refresh token just before the current one gives the same new pair again."`
	ClockSkew    time.Duration `yaml:"clock_skew" default:"5s" max:"30s" doc:"How far the clocks of instances may be apart."`
	MaxSessions  int           `yaml:"max_sessions" default:"100" min:"1" max:"10000" doc:"How many open sessions a user may have; a log-in beyond ends the oldest."`

	HashMemory      config.Bytes `yaml:"hash_memory" default:"19MiB" min:"64KiB" max:"1GiB" doc:"Memory of one argon2id hash."`
	HashTime        int          `yaml:"hash_time" default:"2" min:"1" max:"100" doc:"Passes of one argon2id hash."`
	HashThreads     int          `yaml:"hash_threads" default:"1" min:"1" max:"16" doc:"Threads of one argon2id hash."`
	HashConcurrency int          `yaml:"hash_concurrency" default:"0" min:"0" max:"1024" doc:"How many passwords are hashed at a time; 0 means half of the cores, at least one."`
	HashQueue       int          `yaml:"hash_queue" default:"64" min:"0" max:"100000" doc:"How many more may wait for their turn; beyond that log-ins are refused as OVERLOADED."`

	FailedLogins           int `yaml:"failed_logins" default:"10" min:"0" max:"10000" doc:"How many wrong passwords a minute an account takes from one IP address (IPv6: one /64) before it refuses all from there for a while; 0 is no limit at all."`
	FailedLoginsEverywhere int `yaml:"failed_logins_everywhere" default:"30" min:"0" max:"10000" doc:"How many it takes from all addresses together before it refuses all but those that it was logged in from within 30 days; 0 is no limit."`

	RelayEvery time.Duration `yaml:"relay_every" default:"5s" min:"10ms" max:"10m" doc:"How often the outbox is looked at for events of other instances; its own it relays at once."`
}

// Validate checks what single settings cannot.
func (c Config) Validate() error {
	var errs []error
	if c.RefreshTTL < c.AccessTTL {
		errs = append(errs, fmt.Errorf("refresh_ttl = %s: want at least access_ttl, %s", c.RefreshTTL, c.AccessTTL))
	}
	if c.HashMemory < config.Bytes(c.HashThreads)*8<<10 {
		errs = append(errs, fmt.Errorf("hash_memory = %d: want at least 8 KiB per hash_threads", c.HashMemory))
	}
	return errors.Join(errs...)
}

// Backbone is what auth needs of the backbone: the stream of events and the signal that sessions ended.
type Backbone interface {
	// Queue is as in backbone.Backbone.
	Queue(ctx context.Context, name backbone.QueueName) (backbone.Queue, error)
	// Publish is as in backbone.Backbone.
	Publish(subject string, data []byte) error
}

var _ Backbone = (backbone.Backbone)(nil)

// Deps is what the service needs of others; all but Now are required.
type Deps struct {
	Accounts  store.Accounts
	Sessions  store.Sessions
	Outbox    store.Outbox
	Keys      store.Keys
	AllowList faststate.Sessions
	Limits    faststate.Limits
	Cache     faststate.Cache
	Users     userv1.UserInternalServiceClient
	Backbone  Backbone
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Service is the target. It is safe for concurrent use.
type Service struct {
	server *server
	relay  *relay
}

// server answers authv1.AuthService.
type server struct {
	authv1.UnimplementedAuthServiceServer

	cfg      Config
	deps     Deps
	log      *slog.Logger
	keys     *keyring
	hasher   *hasher
	guard    *guard
	metrics  *metrics
	verifier *token.Verifier
	changed  func() // tells the relay that the outbox has something
}

var _ authv1.AuthServiceServer = (*server)(nil)

// New returns a Service that does nothing before it is registered or run. cfg must be valid.
func New(cfg Config, d Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	if d.Now == nil {
		d.Now = time.Now
	}
	s := &server{
		cfg: cfg, deps: d, log: log, metrics: newMetrics(reg), hasher: newHasher(cfg, reg),
		keys:  &keyring{store: d.Keys, accessTTL: cfg.AccessTTL},
		guard: &guard{limits: d.Limits, cache: d.Cache, perMinute: cfg.FailedLogins, everywhere: cfg.FailedLoginsEverywhere, now: d.Now},
	}
	s.verifier = token.NewVerifier(s.publicKeys, token.VerifierConfig{Skew: cfg.ClockSkew, Now: d.Now})
	r := newRelay(cfg, d, log, s.metrics, s.settle)
	s.changed = r.kick
	return &Service{server: s, relay: r}
}

// Register serves the public and the internal methods on h.
func (s *Service) Register(h grpc.ServiceRegistrar) {
	authv1.RegisterAuthServiceServer(h, s.server)
	authv1.RegisterAuthInternalServiceServer(h, &checks{s: s.server})
}

// Run makes the keys if this is the first start, and then relays events until ctx ends.
func (s *Service) Run(ctx context.Context, ready func()) error {
	if _, err := s.server.keys.get(ctx); err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	ready()
	s.relay.run(ctx)
	return nil
}

func (s *server) publicKeys(ctx context.Context) ([]byte, error) {
	k, err := s.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	return k.signer.JWKS(), nil
}

// now is the time as it is stored: whole milliseconds, UTC.
func (s *server) now() time.Time { return s.deps.Now().UTC().Truncate(time.Millisecond) }

// me returns who calls.
func me(ctx context.Context) (calls.Identity, error) {
	id := calls.IdentityOf(ctx)
	if id.UserID == "" || id.SessionID == "" {
		return id, fault.New(fault.TokenMissing, "this method needs a session")
	}
	return id, nil
}

// metrics counts what operators watch.
type metrics struct {
	logins    *prometheus.CounterVec // by result
	refreshes *prometheus.CounterVec // by result
	published prometheus.Counter
	retries   prometheus.Counter
	outbox    prometheus.Gauge
	oldest    prometheus.Gauge
}

// Results of log-ins and refreshes.
const (
	resultOK       = "ok"
	resultBad      = "bad_credentials"
	resultLimited  = "limited"
	resultRepeated = "repeated"
	resultReused   = "reused"
	resultEnded    = "ended"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oceanchat_auth_logins_total", Help: "Log-ins by result.",
		}, []string{"result"}),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oceanchat_auth_refreshes_total", Help: "Uses of refresh tokens by result.",
		}, []string{"result"}),
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oceanchat_auth_events_published_total", Help: "Domain events published from the outbox.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oceanchat_auth_relay_retries_total", Help: "Failed attempts to relay the outbox; rising means that events are late.",
		}),
		outbox: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "oceanchat_auth_outbox_events", Help: "Domain events that wait in the outbox.",
		}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "oceanchat_auth_outbox_oldest_seconds", Help: "Age of the oldest of them; 0: none waits.",
		}),
	}
	reg.MustRegister(m.logins, m.refreshes, m.published, m.retries, m.outbox, m.oldest)
	return m
}
