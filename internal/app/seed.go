package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/command/dev"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// settleEvery is how often seeding looks whether everything is stored.
const settleEvery = 50 * time.Millisecond

// openSeeding implements dev.Open: every service runs in this process, and no gateway, so nobody can come in.
func openSeeding(ctx context.Context, settings, env []string, log *slog.Logger, use func(context.Context, dev.Services) error) error {
	var cfg Config
	loaded, err := config.Load(&cfg, config.Sources{Args: settings, Env: env})
	if err != nil {
		return err
	}
	if len(loaded.Args) > 0 {
		return fmt.Errorf("%q is no setting", loaded.Args[0])
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return err
	}
	unlock, err := lockDir(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("%w: stop its server first", err)
	}
	defer unlock()
	if err := keepPartitions(cfg.DataDir, cfg.Log.Partitions); err != nil {
		return err
	}
	s, err := openEmbedded(&cfg, log)
	if err != nil {
		return err
	}
	h := &hall{cfg: &cfg, log: log, reg: obs.NewRegistry(), seams: s}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	used := make(chan error, 1)
	seeder := make(chan *auth.Service, 1)
	began := false
	err = lifecycle.Run(ctx, log, h.innerParts(seeder), lifecycle.Options{StopTimeout: cfg.Drain.Timeout, Ready: func() {
		began = true
		go func() {
			defer cancel()
			used <- use(ctx, h.seeding(<-seeder))
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

// innerParts are the parts without doors; auth is handed out, for what no network serves.
func (h *hall) innerParts(seeder chan<- *auth.Service) []lifecycle.Part {
	parts := []lifecycle.Part{{Name: "database", Run: func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		return h.seams.close()
	}}}
	below := []string{"database"}
	for name, run := range h.seams.run {
		parts = append(parts, lifecycle.Part{Name: name, Needs: []string{"database"}, Run: run})
		below = append(below, name)
	}
	for _, t := range targets {
		if t.name == "auth" {
			t.build = func(ctx context.Context, h *hall, log *slog.Logger) (service, error) {
				s, err := buildAuth(ctx, h, log)
				if err == nil {
					seeder <- s.(*auth.Service)
				}
				return s, err
			}
		}
		parts = append(parts, lifecycle.Part{Name: t.name, Needs: slices.Concat(below, t.needs), Run: h.runner(t)})
	}
	return parts
}

// seeding gives the command what it needs.
func (h *hall) seeding(s *auth.Service) dev.Services {
	return dev.Services{
		Network: h.seams.network, DataDir: h.cfg.DataDir, Settle: h.settle,
		Accounts: func(ctx context.Context, password string, users []dev.User) ([]*authv1.TokenResponse, error) {
			bulk := make([]auth.SeedUser, len(users))
			for i, u := range users {
				bulk[i] = auth.SeedUser(u)
			}
			return s.Seed(ctx, password, bulk)
		},
	}
}

// settle waits until the log is stored and handed on, and every event has left the outbox.
func (h *hall) settle(ctx context.Context) error {
	for {
		done, err := h.settled(ctx)
		if err != nil || done {
			return err
		}
		select {
		case <-time.After(settleEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (h *hall) settled(ctx context.Context) (bool, error) {
	if events, err := h.seams.stores.outbox.Pending(ctx, 1); err != nil || len(events) > 0 {
		return false, err
	}
	logs, err := h.streams(ctx)
	if err != nil {
		return false, err
	}
	for p, l := range logs {
		info, err := l.Info(ctx)
		if err != nil {
			return false, err
		}
		mark, err := h.seams.stores.log.Mark(ctx, p)
		if err != nil {
			return false, err
		}
		floor, err := l.Floor(ctx, orchestrator.ReaderName)
		if err != nil || mark.Position < info.Last || floor < info.Last {
			return false, err
		}
	}
	return true, nil
}
