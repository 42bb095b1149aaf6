package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/fleet"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// laterKind is a kind of entry that no version here knows, and laterField a field of one.
const (
	laterKind  = messagev1.EntryKind(4242)
	laterField = 4243
)

// witness is a user who came to the old version and keeps what it was given there: tokens of every kind. A plain client, so
// nothing is repaired.
type witness struct {
	*client.User
	with  []string   // conversations, one with each peer
	page  string     // where the first page of a list ended, in the old version
	sync  string     // the last sync token
	later [2][]later // what stands of a later version in the first two conversations
}

// later is an entry of a later version, as it was acknowledged.
type later struct{ id, messageID string }

func newWitness(ctx context.Context, base string) (*witness, error) {
	u, err := client.Register(ctx, base, "witness")
	if err != nil {
		return nil, err
	}
	w := &witness{User: u}
	for i := range 3 {
		peer, err := client.Register(ctx, base, fmt.Sprintf("peer%d", i))
		if err != nil {
			return nil, err
		}
		w.with = append(w.with, fleet.Direct(u.ID, peer.ID))
		err = u.Do(ctx, "POST", "/messages", client.Object{"toUserId": peer.ID, "clientMsgId": "hello", "text": client.Object{"text": "hello"}}, nil)
		if err != nil {
			return nil, err
		}
	}
	_, w.page, err = w.list(ctx, "")
	if err == nil && w.page == "" {
		err = errors.New("a list of three has no second page")
	}
	return w, err
}

// list reads a page of one conversation.
func (w *witness) list(ctx context.Context, from string) (ids []string, next string, err error) {
	var page struct {
		Conversations []struct{ ConversationID string }
		NextPageToken string
	}
	err = w.Do(ctx, "GET", "/conversations?pageSize=1&pageToken="+url.QueryEscape(from), nil, &page)
	for _, c := range page.Conversations {
		ids = append(ids, c.ConversationID)
	}
	return ids, page.NextPageToken, err
}

// look uses everything that the witness has from other versions, over whichever instances answer, and returns what is wrong.
func (w *witness) look(ctx context.Context, c *cluster) (wrong []string, err error) {
	if c != nil {
		wrong = w.inject(ctx, c)
	}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"pages of a list", w.pages},
		{"a page token of the old version", func(ctx context.Context) error { _, _, err := w.list(ctx, w.page); return err }},
		{"sync", w.resume},
		{"refresh", w.refresh},
		{"entries of a later version", w.reads},
	} {
		if err := part.do(ctx); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", part.name, err))
		}
	}
	return wrong, ctx.Err()
}

// pages goes through the list. Each page may come from another instance, and so another version.
func (w *witness) pages(ctx context.Context) error {
	var all []string
	for from, more := "", true; more; more = from != "" {
		ids, next, err := w.list(ctx, from)
		if err != nil {
			return err
		}
		all, from = append(all, ids...), next
	}
	slices.Sort(all)
	want := slices.Sorted(slices.Values(w.with))
	if !slices.Equal(all, want) {
		return fmt.Errorf("they hold %v; want %v", all, want)
	}
	return nil
}

// resume goes on from the last sync token.
func (w *witness) resume(ctx context.Context) error {
	var got struct {
		SyncToken string
		Resync    bool
	}
	if err := w.Do(ctx, "POST", "/sync", client.Object{"syncToken": w.sync}, &got); err != nil {
		return err
	}
	if got.Resync || got.SyncToken == "" {
		return fmt.Errorf("resync %v, token %q; want to go on", got.Resync, got.SyncToken)
	}
	w.sync = got.SyncToken
	return nil
}

// refresh changes the refresh token for another one. The access token of the old version stays in use.
func (w *witness) refresh(ctx context.Context) error {
	var got struct{ RefreshToken string }
	err := w.Do(ctx, "POST", "/auth/refresh", client.Object{"refreshToken": w.Refresh}, &got)
	if err == nil {
		w.Refresh = got.RefreshToken
	}
	return err
}

// inject does what a later version beside this one would: it appends an entry of a kind and with a field that no version
// here knows through a message process, and one more straight to the log, in a batch of a higher schema.
func (w *witness) inject(ctx context.Context, c *cluster) (wrong []string) {
	for _, p := range c.Of("message") {
		if err := w.append(ctx, p); err != nil {
			wrong = append(wrong, fmt.Sprintf("an entry of a later version, to %s: %v", p.Name, err))
		}
	}
	if err := w.batch(ctx, c); err != nil {
		wrong = append(wrong, fmt.Sprintf("a batch of a later version: %v", err))
	}
	return wrong
}

// newEntry is the next entry of a later version in conversation n.
func (w *witness) newEntry(n int) *messagev1.Entry {
	id := fmt.Sprintf("later-%d", len(w.later[n]))
	e := &messagev1.Entry{ConversationId: w.with[n], SenderId: w.ID, ClientMsgId: id, Kind: laterKind}
	e.ProtoReflect().SetUnknown(unknown(id))
	return e
}

func unknown(val string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, laterField, protowire.BytesType), val)
}

func (w *witness) append(ctx context.Context, p *local.Process) error {
	conn, err := grpc.NewClient(p.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	e := w.newEntry(0)
	a, err := messagev1.NewMessageInternalServiceClient(conn).Append(ctx, &messagev1.AppendRequest{Entry: e})
	if err == nil {
		w.later[0] = append(w.later[0], later{e.GetClientMsgId(), a.GetMessageId()})
	}
	return err
}

// batch numbers an entry by itself: nobody else writes to that conversation, whose hello is seq 1.
func (w *witness) batch(ctx context.Context, c *cluster) error {
	const conversation = 1
	e := w.newEntry(conversation)
	e.Seq = uint64(len(w.later[conversation]) + 2)
	e.Ordinal, e.SentAt = e.Seq, timestamppb.Now()
	id := chat.ConversationID(e.GetConversationId())
	e.MessageId = string(chat.NewMessageID(e.Seq, uint64(e.GetSentAt().AsTime().UnixMilli())))
	b := &flowv1.LogBatch{Schema: convlog.Schema + 1, Id: fmt.Appendf(nil, "%16d", e.Seq), Entries: []*flowv1.LogEntry{{Entry: e}}}
	b.ProtoReflect().SetUnknown(unknown("of the batch"))
	data, err := proto.Marshal(b)
	if err != nil {
		return err
	}
	subject := backbone.LogSubject(id.Partition(partitions))
	answer, err := c.Ask(ctx, c.parts.NATS[0], subject, string(data))
	if err == nil && !strings.Contains(string(answer), `"seq":`) {
		err = fmt.Errorf("%s answers %s", subject, answer)
	}
	if err == nil {
		w.later[conversation] = append(w.later[conversation], later{e.GetClientMsgId(), e.GetMessageId()})
	}
	return err
}

// reads looks whether everything stands in its conversation, once and in order, behind the hello, and is counted.
func (w *witness) reads(ctx context.Context) error {
	for n, want := range w.later {
		log, err := fleet.Log(ctx, w.User, w.with[n])
		if err != nil {
			return err
		}
		if len(log) != len(want)+1 {
			return fmt.Errorf("%s has %d entries; want %d and the hello", w.with[n], len(log), len(want))
		}
		for i, e := range log[1:] {
			if got := (later{e.ClientMsgID, e.MessageID}); e.Seq != uint64(i+2) || got != want[i] {
				return fmt.Errorf("at seq %d of %s stands %+v as %d; want %+v", i+2, w.with[n], got, e.Seq, want[i])
			}
		}
	}
	return nil
}
