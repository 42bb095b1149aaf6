package query_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// A server's frame holds 4 MiB: pages of large entries shrink to fit, and walking them still meets everything once.
func TestPagesFitIntoFrames(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		const c = chat.ConversationID("d~ann~bob")
		sizes := []int{10, 700_000, 700_000, 5, 700_000, 700_000, 700_000, 2_000_000, 10, 700_000}
		for i, size := range sizes {
			w.say(c, "bob", strings.Repeat("\x01x", (size+1)/7)) // seven bytes of JSON
			w.say(chat.ConversationID("d~ann~b"+string(rune('0'+i))), "ann", strings.Repeat("x", size))
		}
		settle()
		check := func(what string, m proto.Message, items int) {
			t.Helper()
			text, err := wire.MarshalJSON(m)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) > 4<<20 && items > 1 {
				t.Errorf("%s has %d bytes in %d items; want at most 4 MiB", what, len(text), items)
			}
		}
		history := func(r *queryv1.HistoryRequest) *queryv1.EntriesResponse {
			t.Helper()
			r.ConversationId, r.Limit = string(c), proto.Int32(100)
			p, err := w.query.History(w.as("ann"), r)
			if err != nil {
				t.Fatal(err)
			}
			check("a page of history", p, len(p.GetEntries()))
			if n := len(p.GetEntries()); n == 0 || p.GetEntries()[0].GetSeq() != p.GetFromSeq() || p.GetEntries()[n-1].GetSeq() != p.GetToSeq() {
				t.Fatalf("page of %d entries covers %d to %d", n, p.GetFromSeq(), p.GetToSeq())
			}
			return p
		}
		var up, down []uint64
		for p, at := (&queryv1.EntriesResponse{HasMore: true}), uint64(0); p.GetHasMore(); at = p.GetToSeq() {
			p = history(&queryv1.HistoryRequest{AfterSeq: &at})
			up = append(up, seqs(p.GetEntries())...)
		}
		for p, at := (&queryv1.EntriesResponse{HasMore: true}), uint64(100); p.GetHasMore(); at = p.GetFromSeq() {
			p = history(&queryv1.HistoryRequest{BeforeSeq: &at})
			down = append(seqs(p.GetEntries()), down...)
		}
		want := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
		if !slices.Equal(up, want) || !slices.Equal(down, want) {
			t.Errorf("pages upwards have %v, downwards %v; want %v", up, down, want)
		}
		for seq := range want {
			p := history(&queryv1.HistoryRequest{AroundSeq: new(uint64(seq + 1))})
			if got := seqs(p.GetEntries()); !slices.Contains(got, uint64(seq+1)) || !p.GetHasMore() {
				t.Errorf("page around %d has %v, more %v; want it in there, and more", seq+1, got, p.GetHasMore())
			}
		}
		var listed []string
		for page := (&queryv1.SyncResponse{NextPageToken: ""}); ; {
			page = w.sync("ann", "", page.GetNextPageToken())
			check("a page of sync", page, len(page.GetConversations()))
			listed = append(listed, ids(page.GetConversations())...)
			if page.GetNextPageToken() == "" {
				break
			}
		}
		all := slices.Clone(listed)
		slices.Sort(all)
		if all = slices.Compact(all); len(listed) != 11 || len(all) != 11 {
			t.Errorf("pages of sync list %v; want 11 conversations, each once", listed)
		}
	})
}

func seqs(entries []*messagev1.Entry) []uint64 {
	out := make([]uint64, len(entries))
	for i, e := range entries {
		out[i] = e.GetSeq()
	}
	return out
}
