package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/access/apigateway"
	"github.com/oceanchat/oceanchat/internal/access/router"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/business/group"
	"github.com/oceanchat/oceanchat/internal/business/message"
	"github.com/oceanchat/oceanchat/internal/business/user"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline"
	"github.com/oceanchat/oceanchat/internal/delivery/pusherrealtime"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
	"github.com/oceanchat/oceanchat/internal/support/presence"
	"github.com/oceanchat/oceanchat/internal/support/query"
	"github.com/oceanchat/oceanchat/internal/token"
)

// hall is where the targets meet the seams.
type hall struct {
	cfg     *Config
	plan    plan
	log     *slog.Logger
	reg     *prometheus.Registry
	seams   *seams
	tracing *obs.Tracing      // nil: off
	journey *journey.Recorder // nil: off

	trust   netdoor.Trust
	doors   *netdoor.Set
	gateway *wsgateway.Service // set when ws-gateway is in this process and built
}

// service is what every target is: served on the network, and run.
type service interface {
	Register(h grpc.ServiceRegistrar)
	Run(ctx context.Context, ready func()) error
}

// target says how to build a service, what it is plugged into besides the backbone and calls, and which parts must be
// ready before it starts, if they are in this process. Services that only call each other on request need not wait for
// each other: a call that comes too early is answered with OVERLOADED.
type target struct {
	name  string
	uses  need
	needs []string
	build func(ctx context.Context, h *hall, log *slog.Logger) (service, error)
}

// need is a set of seams.
type need uint8

const (
	database need = 1 << iota
	fastState
)

// The gateways are the doors: they open last, in this order, and close first.
const (
	wsGateway  = "ws-gateway"
	apiGateway = "api-gateway"
)

func (t target) isDoor() bool { return t.name == wsGateway || t.name == apiGateway }

// targets are the services, by layer. persistence waits for message, which brings log and database together.
var targets = []target{
	{"auth", database | fastState, nil, buildAuth},
	{"user", database | fastState, nil, buildUser},
	{"group", database | fastState, nil, buildGroup},
	{"message", database, nil, buildMessage},
	{"presence", fastState, nil, buildPresence},
	{"query", database, nil, buildQuery},
	{"persistence", database, []string{"message"}, buildPersistence},
	{"pusher-offline", database, []string{"user", "group"}, buildPusherOffline},
	{"pusher-realtime", 0, []string{"presence"}, buildPusherRealtime},
	{"orchestrator", 0, []string{"message", "user", "group", "presence"}, buildOrchestrator},
	{"router", fastState, []string{"auth", "user", "group", "message", "presence", "query", "pusher-offline"}, buildRouter},
	{wsGateway, fastState, nil, buildWSGateway},
	{apiGateway, fastState, nil, buildAPIGateway},
}

// Targets returns the names of all targets.
func Targets() []string {
	var names []string
	for _, t := range targets {
		names = append(names, t.name)
	}
	return names
}

func isTarget(name string) bool { return slices.Contains(Targets(), name) }

// parts returns everything that runs, with what it needs. watchers outlive all of it.
func (h *hall) parts() []lifecycle.Part {
	var parts []lifecycle.Part
	watchers := []string{opsName}
	if h.tracing != nil {
		parts = append(parts, lifecycle.Part{Name: tracesName, Needs: watchers, Run: h.tracing.Run})
		watchers = []string{opsName, tracesName}
	}
	return append(parts, h.served(watchers...)...)
}

// served returns the seams' parts and the chosen targets.
func (h *hall) served(watchers ...string) []lifecycle.Part {
	var parts []lifecycle.Part
	var below, before []string
	for _, p := range h.seams.parts {
		p.Needs = slices.Concat(watchers, p.Needs)
		parts = append(parts, p)
		below = append(below, p.Name)
	}
	for _, t := range h.plan.targets {
		if t.isDoor() {
			continue
		}
		parts = append(parts, h.part(t, below, before))
		before = append(before, t.name)
	}
	if e := h.seams.entrance; e != nil {
		e.Needs = slices.Concat(below, before)
		parts = append(parts, *e)
		before = append(before, e.Name)
	}
	for _, t := range h.plan.targets {
		if t.isDoor() {
			parts = append(parts, h.part(t, below, before))
			before = append(before, t.name)
		}
	}
	return parts
}

// part returns a target's, which needs what is below all and what it names of this process.
func (h *hall) part(t target, below, before []string) lifecycle.Part {
	needs := slices.Clone(below)
	if t.isDoor() {
		needs = append(needs, before...)
	}
	for _, n := range t.needs {
		if h.plan.has(n) {
			needs = append(needs, n)
		}
	}
	return lifecycle.Part{Name: t.name, Needs: needs, Run: h.runner(t)}
}

// runner builds a service once its needs are ready, serves it, and runs it.
func (h *hall) runner(t target) func(ctx context.Context, ready func()) error {
	return func(ctx context.Context, ready func()) error {
		s, err := t.build(ctx, h, h.log.With("target", t.name))
		if err != nil {
			return err
		}
		s.Register(h.seams.host)
		return s.Run(ctx, ready)
	}
}

// streams opens the log's streams.
func (h *hall) streams(ctx context.Context) ([]backbone.Log, error) {
	var out []backbone.Log
	for p := range h.seams.partitions {
		l, err := h.seams.backbone.Log(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("open partition %d of the log: %w", p, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// verifier checks access tokens with auth's public keys, asked for once and again when a new key shows up.
func (h *hall) verifier(n calls.Network) *token.Verifier {
	keys := authv1.NewAuthInternalServiceClient(n)
	return token.NewVerifier(func(ctx context.Context) ([]byte, error) {
		got, err := keys.GetKeys(ctx, &authv1.GetKeysRequest{})
		return got.GetJwks(), err
	}, token.VerifierConfig{CacheSize: 100_000, Skew: h.cfg.Auth.ClockSkew})
}

func buildAuth(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	s := h.seams.stores
	return auth.New(h.cfg.Auth, auth.Deps{
		Accounts: s.accounts, Sessions: s.sessions, Outbox: s.outbox, Keys: s.keys,
		AllowList: h.seams.sessions, Limits: h.seams.limits, Cache: h.seams.cache,
		Users: userv1.NewUserInternalServiceClient(h.seams.network), Backbone: h.seams.backbone,
	}, log, h.reg), nil
}

func buildUser(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	return user.New(h.cfg.User, user.Deps{
		Profiles: h.seams.stores.profiles, Relations: h.seams.stores.relations, Cache: h.seams.cache,
		Messages: messagev1.NewMessageInternalServiceClient(h.seams.network),
	}, log, h.reg), nil
}

func buildGroup(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	return group.New(h.cfg.Group, group.Deps{
		Groups: h.seams.stores.groups, Members: h.seams.stores.members, Cache: h.seams.cache,
		Limits: h.seams.limits, Network: h.seams.network,
	}, log, h.reg), nil
}

func buildMessage(ctx context.Context, h *hall, log *slog.Logger) (service, error) {
	streams, err := h.streams(ctx)
	if err != nil {
		return nil, err
	}
	cfg := h.cfg.Log.convlog(h.seams.partitions)
	cfg.Sole = h.seams.sole
	cfg.Metrics, cfg.Trace = convlog.NewMetrics(h.reg), h.tracing.Tracer("message")
	cfg.Journey = h.journey
	entries := convlog.New(cfg, streams, stored.Of(h.seams.stores.log), log, cfg.Metrics.Alarm)
	h.reg.MustRegister(entries.Gauges(), newLag(streams))
	deps := message.Deps{
		Log: entries, Cursors: h.seams.stores.cursors, Network: h.seams.network, Publish: h.seams.backbone.Publish,
	}
	if h.plan.cluster {
		deps.Affinity = &message.Affinity{
			Partitions: h.seams.partitions, Serve: h.seams.host.ServeShard, Subscribe: h.seams.backbone.Subscribe,
		}
	}
	svc := message.New(h.cfg.Message, deps, log)
	h.reg.MustRegister(svc.Gauges(h.seams.partitions)...)
	return svc, nil
}

func buildPresence(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	return presence.New(h.cfg.Presence, presence.Deps{
		State: h.seams.presence, Users: userv1.NewUserInternalServiceClient(h.seams.network),
		Groups: groupv1.NewGroupInternalServiceClient(h.seams.network),
	}, log, h.reg), nil
}

func buildQuery(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	return query.New(h.seams.stores.reader, h.seams.network, log), nil
}

// unserved gives a target that answers no calls the shape of one that does.
type unserved struct {
	run func(ctx context.Context, ready func()) error
}

// Register does nothing.
func (unserved) Register(grpc.ServiceRegistrar) {}

// Run runs the target.
func (u unserved) Run(ctx context.Context, ready func()) error { return u.run(ctx, ready) }

func buildPersistence(ctx context.Context, h *hall, log *slog.Logger) (service, error) {
	streams, err := h.streams(ctx)
	if err != nil {
		return nil, err
	}
	keep := persistence.Retention{Keep: h.cfg.Log.Keep, Others: []string{orchestrator.ReaderName}}
	p := persistence.New(h.cfg.Persistence, keep, streams, h.seams.stores.log, log, h.reg)
	p.Trace(h.tracing.Tracer("persistence"))
	p.Journey(h.journey)
	return unserved{p.Run}, nil
}

func buildOrchestrator(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	return unserved{orchestrator.New(h.cfg.Orchestrator, orchestrator.Deps{
		Backbone: h.seams.backbone, Partitions: h.seams.partitions, Network: h.seams.network, Trace: h.tracing.Tracer("orchestrator"),
		Journey: h.journey,
	}, log, h.reg).Run}, nil
}

func buildPusherRealtime(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	return pusherrealtime.New(h.cfg.PusherRealtime, pusherrealtime.Deps{
		Backbone: h.seams.backbone, Network: h.seams.network, Trace: h.tracing.Tracer("pusher-realtime"), Journey: h.journey,
	}, log, h.reg), nil
}

func buildPusherOffline(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	return pusheroffline.New(h.cfg.Push, pusheroffline.Deps{
		Backbone: h.seams.backbone, Network: h.seams.network, Tokens: h.seams.stores.tokens,
		Trace: h.tracing.Tracer("pusher-offline"), Journey: h.journey,
	}, log, h.reg)
}

func buildRouter(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	r := router.New(h.cfg.Router, h.seams.realtime, h.seams.limits, log, h.reg)
	if h.plan.cluster {
		r.Shards(h.seams.partitions)
	}
	return r, nil
}

func buildWSGateway(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	h.gateway = wsgateway.New(h.cfg.WSGateway, wsgateway.Deps{
		Net: h.seams.realtime, Host: h.seams.host, Signals: h.seams.backbone, Sessions: h.seams.sessions,
		Verifier: h.verifier(h.seams.realtime), Mounted: h.plan.has(apiGateway), ClientIP: h.trust.Client, Trace: h.tracing.Tracer(wsGateway),
		Journey: h.journey,
		HTTP:    h.doors.Door("ws", h.cfg.HTTP.TLS, h.cfg.HTTP.ProxyProtocol),
		TCPAddr: h.cfg.TCP.Addr, TCP: h.doors.Door("tcp", h.cfg.TCP.TLS, h.cfg.TCP.ProxyProtocol),
	}, log, h.reg)
	return unserved{h.gateway.Run}, nil
}

func buildAPIGateway(_ context.Context, h *hall, log *slog.Logger) (service, error) {
	deps := apigateway.Deps{
		Net: h.seams.network, Limits: h.seams.limits, Sessions: h.seams.sessions,
		Verifier: h.verifier(h.seams.network), Trace: h.tracing.Tracer(apiGateway),
		Trust: h.trust, Door: h.doors.Door("http", h.cfg.HTTP.TLS, h.cfg.HTTP.ProxyProtocol),
	}
	if h.gateway != nil {
		deps.WebSocket = h.gateway.Handler()
	}
	return unserved{apigateway.New(h.cfg.APIGateway, h.cfg.HTTP.Addr, deps, log, h.reg).Run}, nil
}
