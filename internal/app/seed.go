package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/command/dev"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// settleEvery is how often seeding looks whether everything is stored.
const settleEvery = 50 * time.Millisecond

// openSeeding implements dev.Open: services run in this process, and no gateway, so nobody can come in.
func openSeeding(ctx context.Context, d dev.Data, log *slog.Logger, use func(context.Context, dev.Services) error) error {
	cfg, err := settingsOf(d.Settings, d.Env)
	if err != nil {
		return err
	}
	seeder := make(chan *auth.Service, 1)
	chosen := plan{targets: inner(seeder, d.Cluster), cluster: d.Cluster}
	unlock, err := takeDataDir(cfg, chosen)
	if err != nil {
		return fmt.Errorf("%w: stop its server first", err)
	}
	defer unlock()
	reg := obs.NewRegistry()
	s, err := openSeams(cfg, chosen, netdoor.NewSet(netdoor.Trust{}, log, reg), nil, log)
	if err != nil {
		return err
	}
	if d.Cluster {
		s.onlyAsk()
	}
	h := &hall{cfg: cfg, plan: chosen, log: log, reg: reg, seams: s}
	return whileRunning(ctx, log, h.served(), cfg.Drain.Timeout, func(ctx context.Context) error {
		return h.seed(ctx, <-seeder, use)
	})
}

// settingsOf loads settings for a command that takes no targets.
func settingsOf(args, env []string) (*Config, error) {
	var cfg Config
	loaded, err := config.Load(&cfg, config.Sources{Args: args, Env: env, Others: others})
	if err != nil {
		return nil, err
	}
	if len(loaded.Args) > 0 {
		return nil, fmt.Errorf("%q is no setting", loaded.Args[0])
	}
	return &cfg, nil
}

// whileRunning runs parts, calls use once they are ready, and stops them when it has returned or one of them has failed, which ends use's
// context.
func whileRunning(ctx context.Context, log *slog.Logger, parts []lifecycle.Part, stop time.Duration, use func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	used := make(chan error, 1)
	began := false
	err := lifecycle.Run(ctx, log, parts, lifecycle.Options{StopTimeout: stop, Ready: func() {
		began = true
		go func() {
			defer cancel()
			used <- use(ctx)
		}()
	}})
	cancel() // of use too, when a part has failed
	if began {
		return errors.Join(err, <-used)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// onlyAsk makes a process one that calls others, over NATS, and that nobody calls: no peer learns of it, and none misses
// it when it ends.
func (s *seams) onlyAsk() {
	s.network, s.entrance = s.realtime, nil
}

// inner is every target but the doors; auth is handed out, for what no network serves. In a cluster it is only who makes
// accounts, friends and groups. The log is appended to, stored and handed on by the cluster's own instances: one more of
// those would get a share of their work, which others had to take over when it ends.
func inner(seeder chan<- *auth.Service, cluster bool) []target {
	var out []target
	for _, t := range targets {
		switch t.name {
		case apiGateway, wsGateway:
			continue
		case "auth":
			t.build = func(ctx context.Context, h *hall, log *slog.Logger) (service, error) {
				s, err := buildAuth(ctx, h, log)
				if err == nil {
					seeder <- s.(*auth.Service)
				}
				return s, err
			}
		case "user", "group":
		default:
			if cluster {
				continue
			}
		}
		out = append(out, t)
	}
	return out
}

// seed lets the command use the services. A cluster must live, and its log be the one that the settings describe, before
// anything is made.
func (h *hall) seed(ctx context.Context, s *auth.Service, use func(context.Context, dev.Services) error) error {
	if h.plan.cluster {
		messages := messagev1.NewMessageInternalServiceClient(h.seams.network)
		if _, err := messages.GetPositions(ctx, &messagev1.GetPositionsRequest{}); err != nil {
			return fmt.Errorf("ask the cluster's message service, which must run: %w", err)
		}
	}
	if _, err := h.streams(ctx); err != nil {
		return err
	}
	return use(ctx, h.seeding(s))
}

// seeding gives the command what it needs.
func (h *hall) seeding(s *auth.Service) dev.Services {
	where := h.cfg.DataDir
	if h.plan.cluster {
		where = "the cluster"
	}
	return dev.Services{
		Network: h.seams.network, Where: where, Settle: h.settle,
		Accounts: func(ctx context.Context, password string, users []dev.User) ([]*authv1.TokenResponse, error) {
			bulk := make([]auth.SeedUser, len(users))
			for i, u := range users {
				bulk[i] = auth.SeedUser(u)
			}
			return s.Seed(ctx, password, bulk)
		},
	}
}

// settle waits until every event has left the outbox, and the log is stored and handed on as far as it goes then: in a
// cluster others may go on appending.
func (h *hall) settle(ctx context.Context) error {
	logs, err := h.streams(ctx)
	if err != nil {
		return err
	}
	if err := repeat(ctx, func() (bool, error) {
		events, err := h.seams.stores.outbox.Pending(ctx, 1)
		return len(events) == 0, err
	}); err != nil {
		return err
	}
	for p, l := range logs {
		info, err := l.Info(ctx)
		if err != nil {
			return err
		}
		if err := repeat(ctx, func() (bool, error) { return h.handled(ctx, p, l, info.Last) }); err != nil {
			return err
		}
	}
	return nil
}

// handled tells whether a partition is stored and handed on up to last.
func (h *hall) handled(ctx context.Context, p int, l backbone.Log, last uint64) (bool, error) {
	mark, err := h.seams.stores.log.Mark(ctx, p)
	if err != nil {
		return false, err
	}
	floor, err := l.Floor(ctx, orchestrator.ReaderName)
	return err == nil && mark.Position >= last && floor >= last, err
}

// repeat looks until something is done.
func repeat(ctx context.Context, done func() (bool, error)) error {
	for {
		is, err := done()
		if err != nil || is {
			return err
		}
		select {
		case <-time.After(settleEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
