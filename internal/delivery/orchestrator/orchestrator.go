// Package orchestrator is the target that reads the log and decides who hears of each entry, and how (ORCH-1 to ORCH-3).
// Of every partition it follows the log run by run, resolves the recipients of the entries, asks presence once for all
// of them, and publishes tasks for the gateways of those on line and for pusher-offline for the others.
//
// It never writes to the log, to a database or to a client, and no send waits for it. It keeps invariant 4: members are
// those at the entry's own seq, as notices are applied in the order of the log, and a direct message that its recipient
// withholds goes out without its body. It keeps invariant 7: a run counts as done when all its tasks are stored; else
// the same run comes again, with the same ids for the same tasks.
package orchestrator

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// ReaderName is the durable consumer of each partition. Who purges the log asks for its floor.
const ReaderName = "orchestrator"

// Config is the "orchestrator" section of the configuration.
type Config struct {
	MemberIDs      int           `yaml:"member_ids" default:"1000000" min:"1000" doc:"How many ids of group members are kept in memory, over all groups; the groups unused for longest go first."`
	Run            int           `yaml:"run" default:"64" min:"1" max:"1024" doc:"How many batches of the log are worked on at a time at most."`
	CallTimeout    time.Duration `yaml:"call_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long a call of presence, group or user may take."`
	PublishTimeout time.Duration `yaml:"publish_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long the storing of one task may take."`
}

// The bounds of what is worked on at once. A run that holds more is worked off in pieces, in order.
const (
	maxEntries    = 4096
	maxDeliveries = 64 << 10    // entries times recipients
	maxLookup     = 10_000      // users in one question to presence
	maxTask       = 512 << 10   // bytes; a task that would be larger becomes two. A single entry is far below
	parallel      = 16          // publishes, and questions to user, that are under way at once
	oneItem       = 16          // bytes around the parts of an item, about
	infoWindow    = time.Minute // a line for the log about the same thing is written this often
)

// streams is what orchestrator needs of the backbone.
type streams interface {
	// Log is as in backbone.Backbone.
	Log(ctx context.Context, partition int) (backbone.Log, error)
	// Queue is as in backbone.Backbone.
	Queue(ctx context.Context, name backbone.QueueName) (backbone.Queue, error)
}

// Deps is what the service is plugged into; all but the last two are required.
type Deps struct {
	Backbone   streams
	Partitions int
	Network    calls.Network
	Trace      *obs.Tracer       // nil: off
	Journey    *journey.Recorder // nil: off
}

// Service is the target. It is safe for concurrent use.
type Service struct {
	cfg      Config
	deps     Deps
	users    userv1.UserInternalServiceClient
	groups   groupv1.GroupInternalServiceClient
	presence presencev1.PresenceInternalServiceClient
	log      *slog.Logger
	quiet    *obs.Limiter
	m        *metrics
}

// New returns a Service that does nothing before Run. cfg must be valid.
func New(cfg Config, d Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	return &Service{
		cfg: cfg, deps: d, log: log, quiet: obs.Every(infoWindow), m: newMetrics(reg),
		users:    userv1.NewUserInternalServiceClient(d.Network),
		groups:   groupv1.NewGroupInternalServiceClient(d.Network),
		presence: presencev1.NewPresenceInternalServiceClient(d.Network),
	}
}

// Run follows all partitions until ctx ends; ready is called when the readers are about to start. An error means that a
// stream could not be opened.
func (s *Service) Run(ctx context.Context, ready func()) error {
	out, err := s.outlets(ctx)
	if err != nil {
		return err
	}
	readers := make([]*reader, s.deps.Partitions)
	for p := range readers {
		l, err := s.deps.Backbone.Log(ctx, p)
		if err != nil {
			return fmt.Errorf("open the log of partition %d: %w", p, err)
		}
		readers[p] = s.newReader(p, l, out)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range readers {
		g.Go(func() error { return r.follow(ctx) })
	}
	ready()
	return g.Wait()
}

func (s *Service) outlets(ctx context.Context) (outlets, error) {
	online, err := s.deps.Backbone.Queue(ctx, backbone.PushOnline)
	if err != nil {
		return outlets{}, fmt.Errorf("open the queue of online tasks: %w", err)
	}
	offline, err := s.deps.Backbone.Queue(ctx, backbone.PushOffline)
	if err != nil {
		return outlets{}, fmt.Errorf("open the queue of offline tasks: %w", err)
	}
	return outlets{online: online, offline: offline, timeout: s.cfg.PublishTimeout, m: s.m}, nil
}
