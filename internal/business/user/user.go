// Package user is the target that owns profiles, settings, the address book and blocks, and the only place that
// decides how two users stand to each other: "are they friends?", "may A write to B?" (USER-1, USER-2).
//
// It never writes to a conversation itself: what a person must see (a friend request, a new friend) is an entry of the
// inbox that message appends. Such a change is stored first, with a mark that its entries may be missing; the entries
// carry an id derived from the change, so whoever meets the mark (the same command repeated, the next command of the
// pair, or the sweep of Run) completes it without a second effect.
//
// Answers about relations are cached; every change drops them afterwards, and the cache's leases keep a reader that was
// overtaken from putting back what is old. What is not there and what is not yours answer alike.
package user

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Config is the "user" section of the configuration.
type Config struct {
	CacheTTL   time.Duration `yaml:"cache_ttl" default:"1m" min:"1s" max:"1h" doc:"How long an answer about two users may be used again. Changes are seen at once; this bounds what a crash between a change and its dropping from the cache can leave behind."`
	SweepEvery time.Duration `yaml:"sweep_every" default:"3s" min:"10ms" max:"10m" doc:"How often half-done friend requests are looked for and completed."`
	MaxFriends int           `yaml:"max_friends" default:"5000" min:"1" max:"100000" doc:"How many friends a user may have."`
}

// Deps is what the service needs of others; all are required.
type Deps struct {
	Profiles  store.Profiles
	Relations store.Relations
	Cache     faststate.Cache
	Messages  messagev1.MessageInternalServiceClient
}

// Service answers userv1.UserService. It keeps no state of its own and is safe for concurrent use.
type Service struct {
	userv1.UnimplementedUserServiceServer

	cfg    Config
	people *people
	pairs  *pairs
	inbox  *inbox
	log    *slog.Logger
}

var _ userv1.UserServiceServer = (*Service)(nil)

// New returns a Service that does nothing before it is registered or run. cfg must be valid.
func New(cfg Config, d Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	c := &cached{cache: d.Cache, ttl: cfg.CacheTTL, log: log, quiet: obs.Every(10 * time.Second)}
	completed := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oceanchat_user_changes_completed_total",
		Help: "Changes of relations whose inbox entries are in the log.",
	})
	pending := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "oceanchat_user_changes_pending",
		Help: "Changes of relations that the last sweep found with inbox entries missing.",
	})
	reg.MustRegister(completed, pending)
	return &Service{
		cfg:    cfg,
		people: &people{store: d.Profiles, cached: c},
		pairs:  &pairs{store: d.Relations, cached: c},
		inbox:  &inbox{relations: d.Relations, messages: d.Messages, completed: completed, pending: pending},
		log:    log,
	}
}

// Register serves the public and the internal methods on h.
func (s *Service) Register(h grpc.ServiceRegistrar) {
	userv1.RegisterUserServiceServer(h, s)
	userv1.RegisterUserInternalServiceServer(h, &decisions{people: s.people, pairs: s.pairs})
}

// sweepPage is how many half-done changes a sweep reads at a time.
const sweepPage = 200

// Run completes half-done changes until ctx ends. Requests are answered without it too, so it is ready at once.
func (s *Service) Run(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(s.cfg.SweepEvery)
	defer tick.Stop()
	quiet := obs.Every(time.Minute)
	for {
		if err := s.inbox.sweep(ctx, sweepPage); err != nil && ctx.Err() == nil {
			if n, ok := quiet.Allow(""); ok {
				s.log.WarnContext(ctx, "completing changes of relations failed, the next sweep repeats it",
					obs.Err, err, obs.Suppressed, n)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// me returns who calls.
func me(ctx context.Context) (chat.UserID, error) {
	if u := calls.IdentityOf(ctx).UserID; u != "" {
		return u, nil
	}
	return "", fault.New(fault.TokenMissing, "this method needs a session")
}

// other returns the caller and the user that a request names, who is not the caller and exists.
func (s *Service) other(ctx context.Context, id string) (actor, target chat.UserID, err error) {
	if actor, target, err = pairOf(ctx, id); err == nil {
		_, err = s.people.one(ctx, target)
	}
	return actor, target, err
}

// pairOf returns the caller and the user that a request names, who is not the caller and may not exist.
func pairOf(ctx context.Context, id string) (actor, target chat.UserID, err error) {
	if actor, err = me(ctx); err != nil {
		return "", "", err
	}
	var b broken
	b.peer(actor, id)
	return actor, chat.UserID(id), b.err()
}

// now is the time as it is stored: whole milliseconds, UTC.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func notFound(id chat.UserID) error {
	return fault.New(fault.NotFoundReason, "there is no user %s", id)
}
