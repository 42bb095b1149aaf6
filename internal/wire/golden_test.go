package wire_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sometime is a time with milliseconds; what is finer is not written.
var sometime = timestamppb.New(time.Date(2026, 1, 31, 8, 30, 0, 120_000_000, time.UTC))

func bob() *userv1.User {
	return &userv1.User{UserId: "u1", Username: "bob", Nickname: "Bob"}
}

func textEntry() *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: "g~g1", Seq: 42, Ordinal: 40, MessageId: "0123456789abc1a", ClientMsgId: "m1",
		Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, SenderId: "u1", SentAt: sometime,
		Body: &messagev1.Entry_Text{Text: &messagev1.Text{
			Text:     "hi @bob",
			Mentions: []*messagev1.Mention{{UserId: "u2", Offset: 3, Length: 4}},
		}},
	}
}

func noticeEntry() *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: "g~g1", Seq: 1, MessageId: "0123456789abc1", ClientMsgId: "c1",
		Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE, SenderId: "u1", SentAt: sometime,
		Body: &messagev1.Entry_Notice{Notice: &messagev1.Notice{
			Type: messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED, ActorId: "u1", UserIds: []string{"u2"},
		}},
	}
}

func conversation() *queryv1.Conversation {
	return &queryv1.Conversation{
		ConversationId: "g~g1", Kind: queryv1.ConversationKind_CONVERSATION_KIND_GROUP, Title: "G", MinSeq: 1,
		Head: &queryv1.Head{Seq: 42, Ordinal: 40, SentAt: sometime}, Read: &messagev1.Cursor{Seq: 41, Ordinal: 39},
		Unread: 1, MentionSeq: 42, LastEntry: textEntry(),
	}
}

func goldens() map[string]proto.Message {
	answered := textEntry()
	answered.ReplyTo, answered.EditedAt, answered.Recalled = new("0123456789abc0"), sometime, true
	answered.Reactions = []*messagev1.Reaction{{Emoji: "👍", UserIds: []string{"u2", "u3"}}}
	direct := conversation()
	direct.ConversationId, direct.Kind, direct.Peer = "d~u1~u2", queryv1.ConversationKind_CONVERSATION_KIND_DIRECT, bob()
	direct.MaxSeq, direct.Draft, direct.MutedUntil = proto.Uint64(42), new(""), sometime
	return map[string]proto.Message{
		"user": bob(),
		"group": &groupv1.Group{
			GroupId: "g1", Name: "G", OwnerId: "u1", MemberCount: 3, JoinMode: groupv1.JoinMode_JOIN_MODE_INVITE,
			HistoryVisibility: groupv1.HistoryVisibility_HISTORY_VISIBILITY_SINCE_JOIN,
			Role:              groupv1.Role_ROLE_OWNER, CreatedAt: sometime,
		},
		"member": &groupv1.Member{User: bob(), Role: groupv1.Role_ROLE_ADMIN, JoinedAt: sometime},
		"settings": &userv1.Settings{
			WhoMayFind: userv1.Audience_AUDIENCE_EVERYONE, WhoMayAdd: userv1.Audience_AUDIENCE_EVERYONE,
			WhoMayWrite: userv1.Audience_AUDIENCE_EVERYONE, LastSeen: userv1.Audience_AUDIENCE_FRIENDS,
			PushPreview: userv1.PushPreview_PUSH_PREVIEW_ALL,
		},
		"friend":        &userv1.Friend{User: bob(), Remark: "B", Tags: []string{"work"}, Starred: true, Since: sometime},
		"session":       &authv1.Session{SessionId: "s1", DeviceId: "d1", Platform: authv1.Platform_PLATFORM_IOS, CreatedAt: sometime, RefreshedAt: sometime},
		"entry_text":    textEntry(),
		"entry_full":    answered,
		"entry_notice":  noticeEntry(),
		"entry_hidden":  &messagev1.Entry{ConversationId: "d~u1~u2", Seq: 7, Ordinal: 6, Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN},
		"entry_unknown": &messagev1.Entry{ConversationId: "d~u1~u2", Seq: 8, Ordinal: 7, Kind: 99},
		"entry_inbox": &messagev1.Entry{
			ConversationId: "i~u1", Seq: 1, Ordinal: 1, Kind: messagev1.EntryKind_ENTRY_KIND_FRIEND_REQUEST, SentAt: sometime,
			Body: &messagev1.Entry_FriendRequest{FriendRequest: &messagev1.FriendRequest{UserId: "u2", Message: "hello"}},
		},
		"conversation_group":  conversation(),
		"conversation_direct": direct,
		"error": wire.ErrorObject(&fault.Error{
			Code: fault.PermissionDenied, Reason: fault.NotAllowed, Msg: "…",
			Fields: []fault.Field{{Field: "text.text", Rule: "at most 5000 code points"}},
		}, "r1"),
		"error_bare": wire.ErrorObject(fault.New(fault.NotFoundReason, "no such user"), "r1"),
		"connect": &wirev1.ConnectResponse{
			ConnectionId: "c1", UserId: "u1", HeartbeatSeconds: 30, ServerTime: sometime, Epoch: 1, SyncToken: "t1",
			Conversations: []*queryv1.Conversation{conversation()},
		},
		"send":              &messagev1.SendResponse{MessageId: "0123456789abc1a", ConversationId: "g~g1", Seq: 42, Ordinal: 40, SentAt: sometime},
		"mark_read":         &messagev1.MarkReadResponse{Read: &messagev1.Cursor{Seq: 41, Ordinal: 39}, Unread: 1},
		"history_empty":     &queryv1.EntriesResponse{},
		"presence":          &presencev1.GetResponse{Presences: []*presencev1.Presence{{UserId: "u1", Status: presencev1.Status_STATUS_ONLINE}}},
		"empty":             &messagev1.TypingResponse{},
		"push_entry":        &wirev1.EntryPush{N: 7, Entry: textEntry()},
		"push_typing":       &wirev1.TypingPush{ConversationId: "g~g1", UserId: "u1"},
		"push_presence":     &wirev1.PresencePush{UserId: "u1", Status: presencev1.Status_STATUS_OFFLINE, LastSeenAt: sometime},
		"push_receipt":      &wirev1.ReceiptPush{ConversationId: "d~u1~u2", UserId: "u1", DeliveredSeq: 9, ReadSeq: 8},
		"push_conversation": &wirev1.ConversationPush{Conversation: conversation()},
		"push_resync":       &wirev1.ResyncPush{Epoch: 2},
		"push_disconnect":   &wirev1.DisconnectPush{Code: 4006, Reason: "draining", Reconnect: true, RetryAfterMs: 1500},
	}
}

// The golden files are the Objects of the public contract; `go test ./internal/wire -update` rewrites them.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, m := range goldens() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.MarshalJSON(m)
			if err != nil {
				t.Fatalf("MarshalJSON(%s) = %v; want no error", name, err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(bytes.TrimSuffix(want, []byte("\n"))), string(got)); diff != "" {
				t.Errorf("MarshalJSON(%s), -want +got:\n%s", name, diff)
			}
			checkAnswer(t, m, got)
		})
	}
}

// checkAnswer checks what must hold for every answer: it is compact JSON, and reading it back gives the same message.
func checkAnswer(t *testing.T, m proto.Message, encoded []byte) {
	t.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, encoded); err != nil || !bytes.Equal(compact.Bytes(), encoded) {
		t.Errorf("MarshalJSON(%v) = %s; want compact JSON (%v)", m, encoded, err)
	}
	back := m.ProtoReflect().New().Interface()
	if err := wire.UnmarshalAnswer(encoded, back); err != nil {
		t.Fatalf("UnmarshalAnswer(%s) = %v; want no error", encoded, err)
	}
	if diff := cmp.Diff(m, back, protocmp.Transform()); diff != "" {
		t.Errorf("UnmarshalAnswer(%s), -want +got:\n%s", encoded, diff)
	}
}
