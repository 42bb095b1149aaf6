package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
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

// stored is what the log reads of the database.
type stored struct{ db store.Log }

var _ convlog.Stored = stored{}

// Head returns a conversation's stored head.
func (s stored) Head(ctx context.Context, c chat.ConversationID) (convlog.Head, error) {
	heads, err := s.db.Heads(ctx, []chat.ConversationID{c})
	if err != nil || len(heads) == 0 {
		return convlog.Head{}, err
	}
	h := heads[0]
	return convlog.Head{Seq: h.Seq, Ordinal: h.Ordinal, NoticeSeq: h.NoticeSeq, SentAt: h.SentAt.UnixMilli(), Position: h.Position}, nil
}

// Find returns the newest stored entry with that id; entries that only share its hash are passed over.
func (s stored) Find(ctx context.Context, sender chat.UserID, c chat.ConversationID, clientMsgID string) (*flowv1.LogEntry, error) {
	entries, err := s.db.ByDedupe(ctx, c, convlog.Dedupe(sender, c, clientMsgID))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var le flowv1.LogEntry
		if err := proto.Unmarshal(e.Data, &le); err != nil {
			return nil, fmt.Errorf("decode %s seq %d: %w", c, e.Seq, err)
		}
		if le.GetEntry().GetSenderId() == string(sender) && le.GetEntry().GetClientMsgId() == clientMsgID {
			return &le, nil
		}
	}
	return nil, nil
}

// Mark returns a partition's mark.
func (s stored) Mark(ctx context.Context, partition int) (convlog.Mark, error) {
	m, err := s.db.Mark(ctx, partition)
	return convlog.Mark(m), err
}

// MoveMark moves it by compare-and-set.
func (s stored) MoveMark(ctx context.Context, partition int, from, to convlog.Mark, raise bool) (bool, error) {
	err := s.db.MoveMark(ctx, partition, store.Mark(from), store.Mark(to), raise)
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// Epoch returns the log's epoch.
func (s stored) Epoch(ctx context.Context) (uint64, error) { return s.db.Epoch(ctx) }
