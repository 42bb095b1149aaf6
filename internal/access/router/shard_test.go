package router_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/oceanchat/oceanchat/internal/access/router"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// A request about a conversation is hinted at the shard of the log that the conversation is in; one that names none, or
// a bad one, at no shard.
func TestShardHint(t *testing.T) {
	const partitions = 1000
	tests := []struct {
		name, method, params string
		want                 chat.ConversationID // "": no hint
	}{
		{"group", "message.send", `{"clientMsgId":"m","groupId":"g1"}`, "g~g1"},
		{"conversation", "message.send", `{"clientMsgId":"m","conversationId":"d~u1~u2"}`, "d~u1~u2"},
		{"user", "message.send", `{"clientMsgId":"m","toUserId":"u0"}`, "d~u0~u1"},
		{"other method", "message.markRead", `{"conversationId":"g~g1","seq":1}`, "g~g1"},
		{"oneself", "message.send", `{"clientMsgId":"m","toUserId":"u1"}`, ""},
		{"bad conversation", "message.send", `{"clientMsgId":"m","conversationId":"> *"}`, ""},
		{"bad group", "message.send", `{"clientMsgId":"m","groupId":"a b"}`, ""},
		{"no target", "message.send", `{"clientMsgId":"m"}`, ""},
		{"other service", "query.history", `{"conversationId":"g~g1"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{0, partitions} {
				got := "not called"
				r := newRig(router.Config{RateLimit: 100}, nil)
				r.net.seen = func(ctx context.Context) { got = calls.ShardOf(ctx) }
				r.Shards(n)
				want := ""
				if tt.want != "" && n > 0 {
					want = strconv.Itoa(tt.want.Partition(n))
				}
				r.route(t, `{"jsonrpc":"2.0","id":1,"method":"`+tt.method+`","params":`+tt.params+`}`)
				if got != want {
					t.Errorf("shard of %s of %d = %q; want %q", tt.params, n, got, want)
				}
			}
		})
	}
}
