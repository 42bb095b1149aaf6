package mongo_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// Permissions and member sets are cached, so a primary that was replaced without knowing it yet must not answer what they
// are made of.
func TestReadsOfPermissionsAreLinearizable(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var concerns []string
	cfg := mongo.Tuned(mongo.Config{URI: fresh(t)}, func(o *options.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "find" {
				level, _ := e.Command.Lookup("readConcern", "level").StringValueOK()
				mu.Lock()
				concerns = append(concerns, level)
				mu.Unlock()
			}
		}})
	})
	db, err := mongo.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	for name, read := range map[string]func(context.Context) error{
		"Groups.Get":         func(ctx context.Context) error { _, err := db.Groups().Get(ctx, []chat.GroupID{"g"}); return err },
		"Members.Get":        func(ctx context.Context) error { _, err := db.Members().Get(ctx, "g", []chat.UserID{"u"}); return err },
		"Members.PresentIDs": func(ctx context.Context) error { _, err := db.Members().PresentIDs(ctx, "g"); return err },
		"Members.Ever":       func(ctx context.Context) error { _, err := db.Members().Ever(ctx, "g"); return err },
		"Members.OfUser":     func(ctx context.Context) error { _, err := db.Members().OfUser(ctx, "u"); return err },
		"Relations.Get":      func(ctx context.Context) error { _, _, err := db.Relations().Get(ctx, "a", "b"); return err },
	} {
		mu.Lock()
		concerns = nil
		mu.Unlock()
		must(t, read(t.Context()))
		mu.Lock()
		if !slices.Equal(concerns, []string{"linearizable"}) {
			t.Errorf("%s reads with concerns %q; want linearizable, once", name, concerns)
		}
		mu.Unlock()
	}
}
