package recovery

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// How many heads are read, and entries written, at a time.
const (
	headsAtOnce   = 1000
	entriesAtOnce = 256
)

// gap is what a conversation lacks: the seqs behind its stored head and before the first one in the log.
type gap struct {
	head  store.Head
	until uint64 // the first seq in the log
}

func (g gap) count() int { return int(g.until - g.head.Seq - 1) }

// gaps finds what is missing between the database and a log, conversation by conversation.
func (r *run) gaps(ctx context.Context, p *part, l backbone.Log) ([]gap, error) {
	first := map[chat.ConversationID]uint64{}
	err := l.Read(ctx, p.info.First, p.info.Last, func(m backbone.Message) error {
		_, entries, err := convlog.DecodeBatch(m.Data)
		if err != nil {
			return nil // the writer stores it raw
		}
		for _, e := range entries {
			if c := chat.ConversationID(e.GetEntry().GetConversationId()); first[c] == 0 {
				first[c] = e.GetEntry().GetSeq()
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	var out []gap
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(first)), headsAtOnce) {
		heads, err := r.Log.Heads(ctx, ids)
		if err != nil {
			return nil, err
		}
		stored := map[chat.ConversationID]store.Head{}
		for _, h := range heads {
			stored[h.ConversationID] = h
		}
		for _, c := range ids {
			h := stored[c]
			h.ConversationID = c
			if first[c] > h.Seq+1 {
				out = append(out, gap{h, first[c]})
			}
		}
	}
	return out, nil
}

// fill stores an entry without a body at each number that is missing: a client that meets a hole would ask for it for ever.
func (r *run) fill(ctx context.Context, p *part, gaps []gap) error {
	b := store.Batch{Partition: p.index, From: p.mark, To: p.mark}
	write := func() error {
		err := r.Log.Store(ctx, b)
		b.Entries, b.Heads = nil, nil
		return err
	}
	for _, g := range gaps {
		h := g.head
		for h.Seq++; h.Seq < g.until; h.Seq++ {
			e, err := withheld(h)
			if err != nil {
				return err
			}
			b.Entries = append(b.Entries, e)
			if len(b.Entries) == entriesAtOnce {
				b.Heads = append(b.Heads, h)
				if err := write(); err != nil {
					return err
				}
			}
		}
		h.Seq--
		b.Heads = append(b.Heads, h)
	}
	return write()
}

// withheld returns an entry without a body at h.
func withheld(h store.Head) (store.Entry, error) {
	var random [8]byte
	_, _ = rand.Read(random[:])
	data, err := proto.Marshal(&flowv1.LogEntry{Entry: &messagev1.Entry{
		ConversationId: string(h.ConversationID), Seq: h.Seq, Ordinal: h.Ordinal, SentAt: timestamppb.New(h.SentAt),
		MessageId: string(chat.NewMessageID(binary.BigEndian.Uint64(random[:]), h.Seq)), Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN,
	}})
	if err != nil {
		return store.Entry{}, fmt.Errorf("encode %s seq %d: %w", h.ConversationID, h.Seq, err)
	}
	return store.Entry{
		ConversationID: h.ConversationID, Seq: h.Seq, Ordinal: h.Ordinal, SentAt: h.SentAt,
		Kind: int32(messagev1.EntryKind_ENTRY_KIND_HIDDEN), Data: data,
	}, nil
}
