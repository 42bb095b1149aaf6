package recovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/convlog"
)

// The database was put back from a back-up that is older than what the log still holds.
func TestTorn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.talk(2)
	w.store()
	old := w.marks()[0]
	w.talk(3)
	l := w.streams()[0]
	if err := l.Purge(t.Context(), old.Position+uint64(len(w.conns))); err != nil { // the third message of each
		t.Fatal(err)
	}
	w.want(command.Failed, "12 BATCHES ARE MISSING")
	w.want(command.Failed, "12 ENTRIES")
	w.want(command.Failed, "--accept-loss", "--apply")
	w.want(command.Failed, "nothing was changed", "--accept-loss")
	w.want(command.OK, "done; the epoch is", "--accept-loss", "--apply")
	w.store()
	w.complete(len(w.conns))
	w.talk(1)
	w.store()
	w.complete(len(w.conns))
}

// A log was purged beyond what an older database knows, and what is left of it shows nothing of that.
func TestPurgedUnseen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		another bool   // log than the database knows
		left    uint64 // batches, of conversations that nobody knows
		words   string
	}{
		{"nothing is left", false, 0, "18 BATCHES ARE MISSING"},
		{"others are left", false, 3, "18 BATCHES ARE MISSING"},
		{"nothing is left of another log", true, 0, "UP TO 18 BATCHES ARE MISSING"},
		{"others are left of another log", true, 3, "UP TO 18 BATCHES ARE MISSING"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.talk(2)
			w.store()
			if tt.another {
				if err := w.b.Backbone.Drop(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
			}
			w.strangers(18 + tt.left)
			l, old := w.streams()[0], w.marks()[0]
			info, err := l.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Purge(t.Context(), info.Last-tt.left); err != nil {
				t.Fatal(err)
			}
			w.want(command.Failed, tt.words)
			w.want(command.Failed, "--accept-loss", "--apply")
			if err := w.starts(); err == nil || !strings.Contains(err.Error(), "oceanchat recover") {
				t.Errorf("a start of the log = %v; want it refused", err)
			}
			if now := w.marks()[0]; now != old || w.epoch() != 1 {
				t.Errorf("the mark went from %v to %v, the epoch to %d; want nothing changed", old, now, w.epoch())
			}
			w.want(command.Failed, "given again", "--accept-loss")
			w.want(command.OK, "done; the epoch is", "--accept-loss", "--apply")
			epoch := w.raised(1)
			w.talk(1)
			w.store()
			w.complete(0)
			w.want(command.OK, "nothing to do")
			if e := w.epoch(); e != epoch {
				t.Errorf("epoch = %d; want %d", e, epoch)
			}
		})
	}
}

// A log of which nothing was purged is taken for what it is.
func TestAnotherLogFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.talk(2)
	w.store()
	if err := w.b.Backbone.Drop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	w.strangers(3)
	w.want(command.Failed, "whether the log before it had more cannot be seen")
	w.want(command.OK, "done; the epoch is", "--apply")
	w.raised(1)
	w.talk(1)
	w.store()
	w.complete(0)
}

// strangers appends batches that begin conversations.
func (w *world) strangers(n uint64) {
	w.t.Helper()
	l := w.streams()[0]
	info, err := l.Info(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for at := info.Last; at < info.Last+n; at++ {
		e := &messagev1.Entry{ConversationId: fmt.Sprint("g~stranger", at), Seq: 1, Ordinal: 1, SentAt: timestamppb.Now()}
		data, err := convlog.EncodeBatch(convlog.BatchID{byte(at)}, []*flowv1.LogEntry{{Entry: e}})
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := l.Append(w.t.Context(), data, at); err != nil {
			w.t.Fatal(err)
		}
	}
}

// starts starts the appender, and ends it once it is ready.
func (w *world) starts() error {
	l := convlog.New(convlog.Defaults(w.partitions), w.streams(), stored.Of(w.db.Log()), slog.New(slog.DiscardHandler), func(string) {})
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	return l.Run(ctx, cancel)
}
