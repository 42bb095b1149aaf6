package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/convlog/convlogtest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// FuzzDecodeBatch: bytes from anywhere are a batch or ErrCorrupt; a batch survives being encoded again, and nothing
// that is asked of its entries panics.
func FuzzDecodeBatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		id, entries, err := convlog.DecodeBatch(data)
		if err != nil {
			if !errors.Is(err, convlog.ErrCorrupt) {
				t.Errorf("DecodeBatch = %v; want ErrCorrupt", err)
			}
			return
		}
		again, err := convlog.EncodeBatch(id, entries)
		if err != nil {
			t.Fatalf("EncodeBatch of what DecodeBatch gave = %v", err)
		}
		id2, entries2, err := convlog.DecodeBatch(again)
		if err != nil || id2 != id || len(entries2) != len(entries) {
			t.Fatalf("DecodeBatch(EncodeBatch(...)) = %x, %d entries, %v; want %x, %d", id2, len(entries2), err, id, len(entries))
		}
		s, d := convlogtest.NewStream("a"), newDatabase()
		s.Put(data, time.Now())
		l, _ := open(t, s, d, nil)
		for i, e := range entries {
			_ = convlog.Raises(e.GetEntry()) || convlog.MovesCursor(e.GetEntry())
			c := chat.ConversationID(e.GetEntry().GetConversationId())
			if _, err := l.Tail(t.Context(), c, 1, math.MaxUint64, 10, i%2 == 0); err != nil {
				t.Errorf("Tail(%q) = %v", c, err)
			}
			if convlog.BodyHash(e.GetEntry()) != convlog.BodyHash(entries2[i].GetEntry()) {
				t.Errorf("entry %d has another hash when it was encoded again", i)
			}
		}
	})
}

// BenchmarkAppend is the log without a disk: what numbering, encoding, folding and waking cost for each entry.
func BenchmarkAppend(b *testing.B) {
	for _, senders := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("senders=", senders), func(b *testing.B) {
			d := newDatabase()
			l := convlog.New(convlog.Defaults(1), []backbone.Log{convlogtest.NewStream("a")}, d, discard(), func(string) {})
			ctx, cancel := context.WithCancel(b.Context())
			ready, over := make(chan struct{}), make(chan error, 1)
			go func() { over <- l.Run(ctx, func() { close(ready) }) }()
			<-ready
			next := make(chan int, senders)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range senders {
				wg.Go(func() {
					sender, conv := fmt.Sprint("user", w), fmt.Sprint("g~team", w%100)
					for i := range next {
						e := text(sender, fmt.Sprint("m", i), "a text of the length that most messages have, more or less")
						e.ConversationId = conv
						if _, err := l.Append(ctx, convlog.Draft{Entry: e, Permit: convlog.Any}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := range b.N {
				next <- i
			}
			close(next)
			wg.Wait()
			b.StopTimer()
			cancel()
			if err := <-over; err != nil {
				b.Error(err)
			}
		})
	}
}

func TestBatchCodec(t *testing.T) {
	for _, bad := range [][]byte{nil, {}, []byte("x"), {0x08, 0x01}} {
		if _, _, err := convlog.DecodeBatch(bad); !errors.Is(err, convlog.ErrCorrupt) {
			t.Errorf("DecodeBatch(%q) = %v; want ErrCorrupt", bad, err)
		}
	}
	a, b := text("ann", "m", "x"), text("ann", "m", "x")
	b.Seq, b.MessageId = 9, "other"
	if convlog.BodyHash(a) != convlog.BodyHash(b) {
		t.Error("BodyHash depends on what the log fills in")
	}
	b.ReplyTo = new("r")
	if convlog.BodyHash(a) == convlog.BodyHash(b) {
		t.Error("BodyHash does not tell a reply from a message")
	}
}

// Invariant 10: a batch of a higher schema, with fields and a kind of entry that this version does not know, is numbered
// behind, counted and handed out as it is.
func TestLaterBatch(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, nil)
	wantSeq(t, l, "m1", 1)
	e := text("bob", "m2", "hi")
	e.Kind, e.Body, e.Seq, e.Ordinal = 4242, nil, 2, 2
	e.ConversationId, e.MessageId = string(team), string(chat.NewMessageID(1, 2))
	e.SentAt = timestamppb.Now()
	e.ProtoReflect().SetUnknown(laterField("of the entry"))
	id := convlog.BatchID{1}
	later := &flowv1.LogBatch{Schema: convlog.Schema + 1, Id: id[:], Entries: []*flowv1.LogEntry{{Entry: e}}}
	later.Entries[0].ProtoReflect().SetUnknown(laterField("of the entry's place"))
	later.ProtoReflect().SetUnknown(laterField("of the batch"))
	data, err := proto.Marshal(later)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store(data, 1); err != nil {
		t.Fatal(err)
	}
	wantSeq(t, l, "m3", 3)
	tail, err := l.Tail(t.Context(), team, 1, 3, 10, false)
	if err != nil || len(tail.Entries) != 3 {
		t.Fatalf("ReadTail = %d entries, %v; want 3", len(tail.Entries), err)
	}
	if !proto.Equal(tail.Entries[1], e) {
		t.Errorf("entry = %v; want %v", tail.Entries[1], e)
	}
	if got := tail.Entries[2].GetOrdinal(); got != 3 {
		t.Errorf("ordinal behind it = %d; want 3: it counts as unread", got)
	}
	_, entries, err := convlog.DecodeBatch(data)
	if err != nil || len(entries) != 1 || !proto.Equal(entries[0], later.Entries[0]) {
		t.Errorf("DecodeBatch = %v, %v; want %v", entries, err, later.Entries)
	}
}

// laterField is a field that no version has.
func laterField(val string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 4243, protowire.BytesType), val)
}
