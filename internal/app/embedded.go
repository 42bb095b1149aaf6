package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/store/counted"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// The parts of the seams, by name.
const (
	databasePart = "database"
	backbonePart = "backbone"
	fastPart     = "fast state"
)

// openEmbedded opens the seams' embedded side: everything in this process.
func openEmbedded(cfg *Config, meter *counted.Meter, log *slog.Logger) (*seams, error) {
	partitions := cfg.Log.partitions(false)
	db, err := sqlite.Open(filepath.Join(cfg.DataDir, databaseFile))
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	server, err := embedded.New(embedded.Config{
		Dir: cfg.DataDir, Sync: cfg.Log.Sync, LogMaxBytes: int64(cfg.Log.MaxBytes), Partitions: partitions,
		Listen: cfg.NATS.Listen,
	}, log.With("part", backbonePart))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the backbone: %w", err), db.Close())
	}
	network := inproc.New(log)
	bounds := cfg.FastState
	return &seams{
		backbone: server, network: network, realtime: network, host: network,
		presence: memory.NewPresence(bounds, time.Now), sessions: memory.NewSessions(bounds, time.Now),
		limits: memory.NewLimits(bounds, time.Now), cache: memory.NewCache(bounds, time.Now),
		partitions: partitions, sole: true, // the directory is locked
		stores: stores{
			accounts: db.Accounts(), sessions: db.Sessions(), outbox: db.Outbox(), keys: db.Keys(),
			profiles: db.Profiles(), relations: db.Relations(), groups: db.Groups(), members: db.Members(),
			cursors: db.Cursors(), log: db.Log(), reader: db.Reader(), tokens: db.PushTokens(),
		}.counted(meter),
		watch: network.Watch, depths: server.Depths, free: server.Free,
		parts: []lifecycle.Part{
			{Name: databasePart, Run: func(ctx context.Context, ready func()) error {
				ready()
				<-ctx.Done()
				return db.Close()
			}},
			{Name: backbonePart, Needs: []string{databasePart}, Run: newUnsynced(cfg, db.Log(), log).around(server.Run)},
		},
		checks: []check{
			{"log", server.Writable},
			{databasePart, func(ctx context.Context) error { _, err := db.Log().Epoch(ctx); return err }},
		},
	}, nil
}
