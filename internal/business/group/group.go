// Package group is the target that owns groups, memberships and roles, and decides who may do what in a group
// (GROUP-1, GROUP-2). It never appends to a log itself and never delivers: message appends its notices, orchestrator
// reads them there.
//
// A change of a group is two writes that no transaction joins: a notice in the group's log and the rows of the
// database. It goes in steps, each of which may be the last one before a crash:
//
//	Begin   the whole change is recorded in the group's row, by compare-and-set on the group's version
//	Drop    what is cached of the group goes; while a change is pending nothing is cached
//	Append  message appends the notice, with the change's id as clientMsgId: repeating it finds the first one
//	Commit  the effect is stored at the version that Begin saw; who comes second gets ErrConflict and is done too
//
// Whoever meets a pending change completes it before going on, so these hold whatever crashes or races:
//
//   - G1. What group answers holds every change whose notice was in the log when it was asked. The notice's seq is the
//     bound of a membership, so a removal that races a send has one answer for everyone.
//   - G2. A change has exactly one notice and one effect, or neither.
//   - G3. A cached value is never older than that: see the proof at cached (cached.go).
package group

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Config is the "group" section of the configuration.
type Config struct {
	MaxMembers      int           `yaml:"max_members" default:"2000" min:"1" max:"10000" doc:"Most members of a group, its owner included."`
	MaxAdd          int           `yaml:"max_add" default:"2000" min:"1" max:"10000" doc:"Most users that one call of group.addMembers names; group.create takes as many as a group may have."`
	MaxName         int           `yaml:"max_name" default:"64" min:"1" max:"256" doc:"Longest name of a group and nickname in it, in code points."`
	MaxDescription  int           `yaml:"max_description" default:"1000" min:"0" max:"10000" doc:"Longest description of a group, in code points."`
	MaxAvatar       int           `yaml:"max_avatar" default:"512" min:"0" max:"4096" doc:"Longest avatar (a URL or a media id), in bytes."`
	CreatePerMinute int           `yaml:"create_per_minute" default:"20" min:"0" doc:"How many groups a user may create a minute; 0 is no limit."`
	CreateBurst     int           `yaml:"create_burst" default:"20" min:"1" doc:"How many groups a user may create at once."`
	CacheTTL        time.Duration `yaml:"cache_ttl" default:"1m" min:"100ms" max:"1h" doc:"How long groups and members stay in the cache; it bounds the harm of a cache that loses a drop."`
	ChangeTimeout   time.Duration `yaml:"change_timeout" default:"10s" min:"100ms" max:"1m" doc:"How long one attempt to complete a change may take; then another is made later."`
	SweepEvery      time.Duration `yaml:"sweep_every" default:"3s" min:"10ms" max:"1m" doc:"How often changes that a crash left half done are looked for; only those older than this are touched."`
	MaxWaiting      int           `yaml:"max_waiting" default:"256" min:"1" max:"10000" doc:"How many changes of one group may wait for each other; above it OVERLOADED."`
}

// Deps is what group is plugged into.
type Deps struct {
	Groups  store.Groups
	Members store.Members
	Cache   faststate.Cache
	Limits  faststate.Limits
	Network calls.Network
	// Now tells the time; nil is time.Now. It decides about mutes only: order is the log's.
	Now func() time.Time
}

// Service is the target. It is safe for concurrent use.
type Service struct {
	groupv1.UnimplementedGroupServiceServer
	groupv1.UnimplementedGroupInternalServiceServer

	cfg      Config
	groups   store.Groups
	members  store.Members
	cache    *cached
	limits   faststate.Limits
	users    userv1.UserInternalServiceClient
	messages messagev1.MessageInternalServiceClient
	now      func() time.Time
	metrics  metrics
	queues   *queues
	flights  *flights
	log      *slog.Logger
	quiet    *obs.Limiter
}

// New returns a Service that does nothing before Run. cfg must be valid.
func New(cfg Config, d Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	now := d.Now
	if now == nil {
		now = time.Now
	}
	quiet := obs.Every(10 * time.Second)
	return &Service{
		cfg: cfg, groups: d.Groups, members: d.Members, limits: d.Limits, now: now, log: log, quiet: quiet,
		metrics:  newMetrics(reg),
		cache:    &cached{cache: d.Cache, ttl: cfg.CacheTTL, log: log, quiet: quiet},
		users:    userv1.NewUserInternalServiceClient(d.Network),
		messages: messagev1.NewMessageInternalServiceClient(d.Network),
		queues:   &queues{max: cfg.MaxWaiting, of: map[chat.GroupID]*queue{}},
		flights:  &flights{of: map[string]*flight{}},
	}
}

// Register serves s on a host.
func (s *Service) Register(h grpc.ServiceRegistrar) {
	groupv1.RegisterGroupServiceServer(h, s)
	groupv1.RegisterGroupInternalServiceServer(h, s)
}

// Run completes what crashes left half done, until ctx ends. It calls ready at once: the methods complete what they
// meet by themselves, so that the sweep only has the groups that nobody asks for.
func (s *Service) Run(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(s.cfg.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.warn(ctx, "sweep", "unfinished changes stay, the next sweep retries", err)
			}
		}
	}
}

// warn logs what a client or an outage can cause at will, at most once in a while per key.
func (s *Service) warn(ctx context.Context, key, msg string, err error) {
	if n, ok := s.quiet.Allow(key); ok {
		s.log.WarnContext(ctx, msg, obs.Err, err, obs.Suppressed, n) //nolint:sloglint // each caller passes a constant
	}
}
