package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// seams is what services are plugged into: one implementation of each seam.
type seams struct {
	backbone backbone.Backbone
	network  calls.Network
	host     calls.Host
	presence faststate.Presence
	sessions faststate.Sessions
	limits   faststate.Limits
	cache    faststate.Cache
	stores   stores
	sole     bool                    // nobody else appends to the log
	watch    func(*calls.Observer)   // lets it see every call between services
	depths   func() []embedded.Depth // of the queues

	// run are the parts that have to run for the seams to work, by name.
	run   map[string]func(ctx context.Context, ready func()) error
	ping  func(ctx context.Context) error
	close func() error
}

// stores holds the interface of each owner.
type stores struct {
	accounts  store.Accounts
	sessions  store.Sessions
	outbox    store.Outbox
	keys      store.Keys
	profiles  store.Profiles
	relations store.Relations
	groups    store.Groups
	members   store.Members
	cursors   store.Cursors
	log       store.Log
	reader    store.Reader
	tokens    store.PushTokens
}

// openEmbedded opens the seams' embedded side: everything in this process.
func openEmbedded(cfg *Config, log *slog.Logger) (*seams, error) {
	db, err := sqlite.Open(filepath.Join(cfg.DataDir, "oceanchat.db"))
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	server, err := embedded.New(embedded.Config{
		Dir: cfg.DataDir, Sync: cfg.Log.Sync, LogMaxBytes: int64(cfg.Log.MaxBytes), Partitions: cfg.Log.Partitions,
		Listen: cfg.NATS.Listen,
	}, log.With("part", "backbone"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the backbone: %w", err), db.Close())
	}
	network := inproc.New(log)
	bounds := cfg.FastState
	return &seams{
		backbone: server, network: network, host: network,
		presence: memory.NewPresence(bounds, time.Now), sessions: memory.NewSessions(bounds, time.Now),
		limits: memory.NewLimits(bounds, time.Now), cache: memory.NewCache(bounds, time.Now),
		sole: true, // the directory is locked
		stores: stores{
			accounts: db.Accounts(), sessions: db.Sessions(), outbox: db.Outbox(), keys: db.Keys(),
			profiles: db.Profiles(), relations: db.Relations(), groups: db.Groups(), members: db.Members(),
			cursors: db.Cursors(), log: db.Log(), reader: db.Reader(), tokens: db.PushTokens(),
		},
		watch: network.Watch, depths: server.Depths,
		run:   map[string]func(context.Context, func()) error{"backbone": server.Run},
		ping:  func(ctx context.Context) error { _, err := db.Log().Epoch(ctx); return err },
		close: db.Close,
	}, nil
}
