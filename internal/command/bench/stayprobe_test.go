package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
)

// What was acknowledged has to be stored once and in its place, and its receiver has to know of it.
func TestStayAccount(t *testing.T) {
	t.Parallel()
	sent := []probed{
		{to: 1, id: "a", acknowledged: true, seq: 1, messageID: "m1"},
		{to: 1, id: "b", acknowledged: true, seq: 2, messageID: "m2"},
		{to: 1, id: "c"},
	}
	stored := func(es ...probedEntry) []probedEntry { return es }
	a, b := probedEntry{1, "m1", "a"}, probedEntry{2, "m2", "b"}
	both := stayer{pushed: map[string]bool{"a": true, "b": true}}
	var synced stayer
	synced.learn([]*queryv1.Conversation{{ConversationId: "room", Head: &queryv1.Head{Seq: 2}}, {ConversationId: "other", Head: &queryv1.Head{Seq: 9}}})
	tests := []struct {
		name   string
		stored []probedEntry
		knows  stayer
		want   stayAccount
	}{
		{"all pushed", stored(a, b), both, stayAccount{Sent: 3, Acknowledged: 2, Stored: 2}},
		{"told by a sync", stored(a, b), synced, stayAccount{Sent: 3, Acknowledged: 2, Stored: 2}},
		{"one not told", stored(a, b), stayer{pushed: map[string]bool{"a": true}}, stayAccount{Sent: 3, Acknowledged: 2, Stored: 2, Untold: 1}},
		{"what was not acknowledged may be stored", stored(a, b, probedEntry{3, "m3", "c"}), both, stayAccount{Sent: 3, Acknowledged: 2, Stored: 3}},
		{"lost", stored(a), both, stayAccount{Sent: 3, Acknowledged: 2, Stored: 1, Lost: 1}},
		{"twice", stored(a, b, probedEntry{3, "m3", "b"}), both, stayAccount{Sent: 3, Acknowledged: 2, Stored: 2, Doubled: 1}},
		{"another seq", stored(probedEntry{1, "m1", "b"}, probedEntry{2, "m1", "a"}), both, stayAccount{Sent: 3, Acknowledged: 2, Stored: 2, Moved: 2}},
		{"a hole", stored(a, probedEntry{3, "m2", "b"}), both, stayAccount{Sent: 3, Acknowledged: 2, Stored: 2, Moved: 1, Holes: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got stayAccount
			got.add("room", sent, tt.stored, []stayer{{}, tt.knows})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("account (-want +got):\n%s", diff)
			}
		})
	}
}
