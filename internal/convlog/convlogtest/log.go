package convlogtest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Open returns a log over streams and a database that runs until t ends. It reads the writer's marks all the time.
func Open(t *testing.T, db store.Log, streams ...backbone.Log) *convlog.Log {
	t.Helper()
	cfg := convlog.Defaults(len(streams))
	cfg.MarkEvery = time.Millisecond
	l := convlog.New(cfg, streams, stored.Of(db), slog.New(slog.DiscardHandler), func(string) {})
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.Run(ctx, sync.OnceFunc(func() { close(ready) })) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run of the log = %v; want nil", err)
		}
	})
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("the log is not ready after 30 s")
	}
	return l
}

// Store plays the writer: it stores what a partition's stream holds up to a position.
func Store(t *testing.T, db store.Log, partition int, s backbone.Log, upTo uint64) {
	t.Helper()
	ctx := context.Background()
	mark, err := db.Mark(ctx, partition)
	if err != nil {
		t.Fatal(err)
	}
	b := store.Batch{Partition: partition, From: mark, To: store.Mark{Incarnation: mark.Incarnation, Position: upTo}}
	heads := map[chat.ConversationID]store.Head{}
	err = s.Read(ctx, mark.Position+1, upTo, func(m backbone.Message) error {
		_, entries, err := convlog.DecodeBatch(m.Data)
		for _, le := range entries {
			add(t, &b, heads, le, m.Seq)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heads {
		b.Heads = append(b.Heads, h)
	}
	if err := db.Store(ctx, b); err != nil {
		t.Fatalf("store up to %d of partition %d: %v", upTo, partition, err)
	}
}

func add(t *testing.T, b *store.Batch, heads map[chat.ConversationID]store.Head, le *flowv1.LogEntry, position uint64) {
	t.Helper()
	e := le.GetEntry()
	data, err := proto.Marshal(le)
	if err != nil {
		t.Fatal(err)
	}
	c, sender, at := chat.ConversationID(e.GetConversationId()), chat.UserID(e.GetSenderId()), e.GetSentAt().AsTime()
	b.Entries = append(b.Entries, store.Entry{
		ConversationID: c, Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), SenderID: sender, SentAt: at, Kind: int32(e.GetKind()),
		Dedupe: convlog.Dedupe(sender, c, e.GetClientMsgId()), Data: data,
	})
	h := store.Head{
		ConversationID: c, Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), NoticeSeq: heads[c].NoticeSeq, SentAt: at, Position: position,
	}
	if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_NOTICE {
		h.NoticeSeq = h.Seq
	}
	heads[c] = h
	if convlog.MovesCursor(e) {
		b.Read = append(b.Read, store.CursorOf{
			ConversationID: c, UserID: sender, Cursor: store.Cursor{Seq: h.Seq, Ordinal: h.Ordinal}, ChangedAt: at,
		})
	}
	for _, m := range e.GetText().GetMentions() {
		if m.GetUserId() != e.GetSenderId() {
			b.Mentions = append(b.Mentions, store.Mention{UserID: chat.UserID(m.GetUserId()), ConversationID: c, Seq: h.Seq})
		}
	}
}
