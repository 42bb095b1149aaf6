package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oceanchat/oceanchat/internal/business/message"
	"github.com/oceanchat/oceanchat/internal/command/dev"
	"github.com/oceanchat/oceanchat/internal/command/recovery"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/durable"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// listenFor is how long it is listened for instances of message, which say each second that they live.
const listenFor = 3500 * time.Millisecond

// keeping is the log and the database, and what has to run for them.
type keeping struct {
	recovery.Data
	log   func() store.Log // of the database, once the parts are ready
	parts []lifecycle.Part
	hear  func(subject string, fn func(subject string, data []byte)) (stop func(), err error) // in a cluster
}

// openRecovery implements recovery.Open.
func openRecovery(ctx context.Context, p recovery.Place, settle bool, log *slog.Logger, use func(context.Context, recovery.Data) error) error {
	cfg, err := settingsOf(p.Settings, p.Env)
	if err != nil {
		return err
	}
	open := keepEmbedded
	if p.Cluster {
		open = keepCluster
	} else if settle { // nobody else stores and hands on
		if err := openSeeding(ctx, dev.Data{Settings: p.Settings, Env: p.Env}, log, func(ctx context.Context, s dev.Services) error {
			return s.Settle(ctx)
		}); err != nil {
			return err
		}
	}
	k, unlock, err := open(cfg, log)
	if err != nil {
		return err
	}
	defer unlock()
	k.Readers = []string{orchestrator.ReaderName}
	return whileRunning(ctx, log, k.parts, cfg.Drain.Timeout, func(ctx context.Context) error {
		if p.Cluster {
			if err := k.nobodyAppends(ctx); err != nil {
				return err
			}
		}
		k.Log = k.log()
		return use(ctx, k.Data)
	})
}

// keepEmbedded opens what one process keeps in its directory, whatever number of partitions the settings say.
func keepEmbedded(cfg *Config, log *slog.Logger) (*keeping, func(), error) {
	if _, err := os.Stat(cfg.DataDir); err != nil {
		return nil, nil, err
	}
	unlock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: stop its server first", err)
	}
	of := cfg.Log.partitions(false)
	if noted, err := notedPartitions(cfg.DataDir); err == nil && noted > 0 {
		of = noted
	}
	s, err := openEmbedded(cfg, nil, log)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	k := &keeping{parts: s.parts, log: func() store.Log { return s.stores.log }}
	k.Backbone, k.Partitions = s.backbone.(logKeeper), of
	k.Note = func(n int) error { return notePartitions(cfg.DataDir, n) }
	return k, unlock, nil
}

// keepCluster opens the log and the database of a cluster.
func keepCluster(cfg *Config, log *slog.Logger) (*keeping, func(), error) {
	js, err := jetstream.Dial(cfg.NATS.servers(), "oceanchat-recover", jetstream.Config{
		Replicas: cfg.NATS.Replicas, LogMaxBytes: int64(cfg.Log.MaxBytes),
	}, log)
	if err != nil {
		return nil, nil, err
	}
	s := &seams{}
	s.addMongo(cfg, plan{}, nil, log)
	k := &keeping{
		parts: append(s.parts, lifecycle.Part{Name: backbonePart, Run: js.Run}),
		log:   func() store.Log { return s.stores.log },
		hear:  js.Hear,
	}
	k.Backbone, k.Partitions = js, cfg.Log.partitions(true)
	k.Note = func(int) error { return nil } // the logs say it themselves
	return k, func() {}, nil
}

type logKeeper interface {
	backbone.Backbone
	backbone.Keeper
}

// nobodyAppends fails if an instance of message lives.
func (k *keeping) nobodyAppends(ctx context.Context) error {
	heard := make(chan struct{}, 1)
	stop, err := k.hear(message.AliveSubject, func(string, []byte) {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	select {
	case <-heard:
		return errors.New("an instance of message runs: stop all of them first")
	case <-time.After(listenFor):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// partitionsFile notes for how many partitions the data of a directory were made.
const partitionsFile = "partitions"

// notedPartitions returns what is noted, 0 if nothing is.
func notedPartitions(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, partitionsFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the number of partitions: %w", err)
	}
	var n int
	if _, err := fmt.Sscan(string(text), &n); err != nil {
		return 0, fmt.Errorf("%s of %s: %w", partitionsFile, dir, err)
	}
	return n, nil
}

func notePartitions(dir string, n int) error {
	if err := durable.WriteFile(filepath.Join(dir, partitionsFile), []byte(strconv.Itoa(n)+"\n")); err != nil {
		return fmt.Errorf("note the number of partitions: %w", err)
	}
	return nil
}

// keepPartitions refuses another number of partitions than the data were made with: conversations would be looked for
// in other streams than the ones that hold what is not stored yet.
func keepPartitions(dir string, n int) error {
	noted, err := notedPartitions(dir)
	switch {
	case err != nil:
		return err
	case noted == 0:
		return notePartitions(dir, n)
	case noted != n:
		return fmt.Errorf("log.partitions is %d, but the data in %s were made with %d: 'oceanchat recover --partitions %d' changes it", n, dir, noted, n)
	}
	return nil
}
