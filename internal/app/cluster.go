package app

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
	"github.com/oceanchat/oceanchat/internal/seam/store/counted"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// How often it is tried to reach a server that is needed to start, and told that it has not been.
const (
	againEvery = time.Second
	tellEvery  = 10 * time.Second
)

// openCluster opens what the chosen targets need of the seams' cluster side. Nothing is reached before the parts run;
// they wait for servers that are not there yet, and say so.
func openCluster(cfg *Config, chosen plan, doors *netdoor.Set, meter *counted.Meter, log *slog.Logger) (*seams, error) {
	s := &seams{partitions: cfg.Log.partitions(true)}
	log = log.With(obs.Process, chosen.String())
	js, err := jetstream.Dial(cfg.NATS.servers(), "oceanchat-"+chosen.String(), jetstream.Config{
		Replicas: cfg.NATS.Replicas, LogMaxBytes: int64(cfg.Log.MaxBytes), Partitions: s.partitions,
	}, log.With("part", backbonePart))
	if err != nil {
		return nil, err
	}
	s.backbone = js
	if chosen.has("pusher-realtime") {
		s.depths = js.Depths
	}
	s.parts = append(s.parts, lifecycle.Part{Name: backbonePart, Run: js.Run})
	s.checks = append(s.checks, check{"log", js.Writable})
	if err := s.addNetwork(cfg, chosen, js, doors, log); err != nil {
		return nil, err
	}
	if chosen.uses(fastState) {
		if err := s.addRedis(cfg, log); err != nil {
			return nil, err
		}
	}
	if chosen.uses(database) {
		s.addMongo(cfg, chosen, meter, log)
	}
	return s, nil
}

// addRedis adds the fast state. Its part waits until Redis answers.
func (s *seams) addRedis(cfg *Config, log *slog.Logger) error {
	r, err := redis.New(cfg.Redis)
	if err != nil {
		return err
	}
	s.presence, s.sessions, s.limits, s.cache = r.Presence(), r.Sessions(), r.Limits(), r.Cache()
	s.checks = append(s.checks, check{fastPart, r.Ping})
	s.parts = append(s.parts, lifecycle.Part{Name: fastPart, Run: func(ctx context.Context, ready func()) error {
		defer func() { _ = r.Close() }() // nothing is kept in it
		if await(ctx, log, "Redis", func() error { return r.Ping(ctx) }) {
			ready()
			<-ctx.Done()
		}
		return nil
	}})
	return nil
}

// addMongo adds the database. Its part waits until MongoDB answers; what only an operator can mend ends it.
func (s *seams) addMongo(cfg *Config, chosen plan, meter *counted.Meter, log *slog.Logger) {
	var opened atomic.Pointer[mongo.DB]
	if chosen.needsDatabase() {
		s.checks = append(s.checks, check{databasePart, func(ctx context.Context) error {
			if db := opened.Load(); db != nil {
				return db.Ping(ctx)
			}
			return errors.New("MongoDB has not answered yet")
		}})
	}
	s.parts = append(s.parts, lifecycle.Part{Name: databasePart, Run: func(ctx context.Context, ready func()) error {
		var wrong error
		found := await(ctx, log, "MongoDB", func() error {
			db, err := mongo.Open(ctx, cfg.Mongo.config(), log)
			if err != nil && !mongo.Away(err) {
				wrong, err = err, nil
			}
			opened.Store(db)
			return err
		})
		if wrong != nil || !found {
			return wrong
		}
		db := opened.Load()
		s.stores = stores{
			accounts: db.Accounts(), sessions: db.Sessions(), outbox: db.Outbox(), keys: db.Keys(),
			profiles: db.Profiles(), relations: db.Relations(), groups: db.Groups(), members: db.Members(),
			cursors: db.Cursors(), log: db.Log(), reader: db.Reader(), tokens: db.PushTokens(),
		}.counted(meter)
		ready()
		<-ctx.Done()
		return db.Close()
	}})
}

// await repeats try until it succeeds, true, or ctx ends. It tells at once what it waits for, and then now and then.
func await(ctx context.Context, log *slog.Logger, what string, try func() error) bool {
	noise := obs.Every(tellEvery)
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		if _, ok := noise.Allow(what); ok {
			log.WarnContext(ctx, "waiting for a server", "server", what, obs.Err, err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(againEvery):
		}
	}
}
