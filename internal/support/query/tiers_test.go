package query_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// upTo returns the seqs from and to.
func upTo(from, to uint64) (all []uint64) {
	for seq := from; seq <= to; seq++ {
		all = append(all, seq)
	}
	return all
}

// halfStored is a conversation of ten entries, of which the database has six and the log's tail the rest.
func halfStored(t *testing.T) (*world, chat.ConversationID) {
	t.Helper()
	w := newWorld(t)
	const c = chat.ConversationID("d~ann~bob")
	for i := range 10 {
		w.say(c, "bob", fmt.Sprint("text ", i))
		if i == 5 {
			w.storeAll()
		}
	}
	w.messages.begins = 7
	return w, c
}

// What is not stored is read while the database is away, and no page claims more than it has.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		req  *queryv1.HistoryRequest
		want []uint64 // nil: OVERLOADED
		more bool
	}{
		{"the latest", &queryv1.HistoryRequest{}, upTo(7, 10), true},
		{"the latest two", &queryv1.HistoryRequest{Limit: proto.Int32(2)}, upTo(9, 10), true},
		{"before the last", &queryv1.HistoryRequest{BeforeSeq: proto.Uint64(10)}, upTo(7, 9), true},
		{"around the last but one", &queryv1.HistoryRequest{AroundSeq: proto.Uint64(9), Limit: proto.Int32(4)}, upTo(8, 10), true},
		{"after the stored", &queryv1.HistoryRequest{AfterSeq: proto.Uint64(6)}, upTo(7, 10), false},
		{"a page after the stored", &queryv1.HistoryRequest{AfterSeq: proto.Uint64(7), Limit: proto.Int32(2)}, upTo(8, 9), true},
		{"after the end", &queryv1.HistoryRequest{AfterSeq: proto.Uint64(10)}, []uint64{}, false},
		{"a hole that begins among the stored", &queryv1.HistoryRequest{AfterSeq: proto.Uint64(5)}, nil, false},
		{"from the start", &queryv1.HistoryRequest{AfterSeq: proto.Uint64(0)}, nil, false},
		{"before the stored", &queryv1.HistoryRequest{BeforeSeq: proto.Uint64(5)}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, c := halfStored(t)
			w.reader.away.Store(true)
			tt.req.ConversationId = string(c)
			r, err := w.query.History(w.as("ann"), tt.req)
			if tt.want == nil {
				if !fault.IsReason(err, fault.Overloaded) {
					t.Errorf("History = %v, %v; want OVERLOADED", r, err)
				}
				return
			}
			if got := seqs(r.GetEntries()); err != nil || !slices.Equal(got, tt.want) || r.GetHasMore() != tt.more {
				t.Fatalf("History = %v, more %v, %v; want %v, more %v", got, r.GetHasMore(), err, tt.want, tt.more)
			}
			if n := len(tt.want); n > 0 && (r.GetFromSeq() != tt.want[0] || r.GetToSeq() != tt.want[n-1]) {
				t.Errorf("it claims %d to %d; want %d to %d", r.GetFromSeq(), r.GetToSeq(), tt.want[0], tt.want[n-1])
			}
		})
	}
}

// A database that hangs holds up nobody who reads what it lacks.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	w, c := halfStored(t)
	w.reader.hangs.Store(true)
	ctx, cancel := context.WithTimeout(w.as("ann"), time.Minute)
	defer cancel()
	r, err := w.query.History(ctx, &queryv1.HistoryRequest{ConversationId: string(c)})
	if got := seqs(r.GetEntries()); err != nil || !slices.Equal(got, upTo(7, 10)) || !r.GetHasMore() {
		t.Errorf("History = %v, more %v, %v; want 7 to 10 and more", got, r.GetHasMore(), err)
	}
}

// A primary that was replaced and does not know it lacks what the mark says is stored: no page claims that stretch.
func TestDatabaseBehind(t *testing.T) {
	t.Parallel()
	for name, req := range map[string]*queryv1.HistoryRequest{
		"latest": {}, "upwards": {AfterSeq: proto.Uint64(0)}, "below the tail": {BeforeSeq: proto.Uint64(6)},
	} {
		w, c := halfStored(t)
		w.reader.behind.Store(4)
		req.ConversationId = string(c)
		r, err := w.query.History(w.as("ann"), req)
		if !fault.IsReason(err, fault.Overloaded) {
			t.Errorf("%s: History = %v, %v; want OVERLOADED", name, seqs(r.GetEntries()), err)
		}
		w.reader.behind.Store(0)
		if _, err := w.query.History(w.as("ann"), req); err != nil {
			t.Errorf("%s: History = %v once the database is right; want nil", name, err)
		}
	}
}

// While a batch is being stored the database may have some of it, in any order.
func TestHalfABatchIsStored(t *testing.T) {
	t.Parallel()
	w, c := halfStored(t)
	data, err := proto.Marshal(&flowv1.LogEntry{Entry: w.log[c][8]})
	if err != nil {
		t.Fatal(err)
	}
	w.reader.extra = []store.Entry{{ConversationID: c, Seq: 9, Data: data}}
	for _, newest := range []bool{true, false} {
		req := &queryv1.HistoryRequest{ConversationId: string(c)}
		if !newest {
			req.AfterSeq = proto.Uint64(0)
		}
		r, err := w.query.History(w.as("ann"), req)
		if got := seqs(r.GetEntries()); err != nil || !slices.Equal(got, upTo(1, 10)) {
			t.Errorf("History, newest first %v = %v, %v; want 1 to 10", newest, got, err)
		}
	}
}

// Entries that an operator deleted are passed over, also if nothing is left up to the tail.
func TestDeletedEntriesArePassedOver(t *testing.T) {
	t.Parallel()
	w, c := halfStored(t)
	w.reader.deleted = true
	for _, req := range []*queryv1.HistoryRequest{{}, {AfterSeq: proto.Uint64(0)}} {
		req.ConversationId = string(c)
		r, err := w.query.History(w.as("ann"), req)
		if got := seqs(r.GetEntries()); err != nil || !slices.Equal(got, upTo(7, 10)) {
			t.Errorf("History = %v, %v; want 7 to 10", got, err)
		}
	}
}
