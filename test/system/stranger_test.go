package system

import (
	"maps"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/wire"
	"github.com/oceanchat/oceanchat/test/client"
)

// Invariant 4 and "what is not yours answers exactly as what is not there": every method of the contract, called by a
// stranger on things that exist and on things that do not.
func TestStranger(t *testing.T) {
	s := start(t)
	ann, bob, eve := s.user("ann"), s.user("bob"), s.user("eve")
	var made struct{ Group struct{ GroupID string } }
	if err := ann.Do(t.Context(), "POST", "/groups", client.Object{"name": "G", "memberIds": []string{bob.ID}}, &made); err != nil {
		t.Fatal(err)
	}
	var sent struct{ MessageID, ConversationID string }
	err := ann.Do(t.Context(), "POST", "/messages", client.Object{"clientMsgId": "m1", "toUserId": bob.ID, "text": client.Object{"text": "x"}}, &sent)
	if err != nil {
		t.Fatal(err)
	}
	var sessions struct{ Sessions []struct{ SessionID string } }
	if err := ann.Do(t.Context(), "GET", "/auth/sessions", nil, &sessions); err != nil || len(sessions.Sessions) != 1 {
		t.Fatalf("ann's sessions = %+v, %v", sessions, err)
	}
	group, nowhere := made.Group.GroupID, "nobody0000000000000000000"
	there := place{conversation: sent.ConversationID, group: group, inbox: "i~" + ann.ID, user: ann.ID, session: sessions.Sessions[0].SessionID}
	absent := place{conversation: "d~aaa~bbb", group: nowhere, inbox: "i~" + nowhere, user: nowhere, session: nowhere}
	c := connect(t, eve)
	covered := map[string]bool{}
	for _, tt := range strangerCalls {
		covered[tt.method] = true
		for _, what := range []string{"conversation", "group", "inbox"} {
			params, ok := tt.params(there, what)
			if !ok {
				continue
			}
			t.Run(tt.method+" on a "+what, func(t *testing.T) {
				theirs := c.Call(t.Context(), tt.method, params, nil)
				params, _ := tt.params(absent, what)
				none := c.Call(t.Context(), tt.method, params, nil)
				if client.ReasonOf(theirs) != tt.want || client.ReasonOf(none) != tt.want {
					t.Errorf("on another's: %v; on what is not there: %v; want %s for both", theirs, none, tt.want)
				}
				if a, b := there.without(message(theirs)), absent.without(message(none)); a != b {
					t.Errorf("messages differ: %q and %q; want the same", a, b)
				}
			})
		}
	}
	for _, m := range wire.Methods() {
		if m.Realtime && !covered[m.Name] && !ownOnly[m.Name] {
			t.Errorf("%s is not in the strangers' table", m.Name)
		}
	}
}

func message(err error) string {
	if e, ok := err.(*client.Error); ok { //nolint:errorlint // returned as it is
		return e.Message
	}
	return ""
}

// place names one thing of each kind.
type place struct{ conversation, group, inbox, user, session string }

// without returns a message without the ids that the caller gave itself.
func (p place) without(message string) string {
	for _, id := range []string{p.conversation, p.inbox, p.group, p.user, p.session} {
		message = strings.ReplaceAll(message, id, "ID")
	}
	return message
}

// ownOnly are methods that name nothing of another's: they act on the caller alone, or on users, whom everyone may see.
var ownOnly = map[string]bool{
	"auth.logout": true, "auth.changePassword": true, "auth.listSessions": true,
	"user.get": true, "user.getMe": true, "user.updateMe": true, "user.search": true, "user.getSettings": true, "user.updateSettings": true,
	"user.listFriends": true, "user.requestFriend": true, "user.listFriendRequests": true, "user.block": true, "user.unblock": true, "user.listBlocks": true,
	"user.updateFriend": true, "user.removeFriend": true, "user.acceptFriend": true, "user.declineFriend": true,
	"group.create": true, "presence.get": true, "query.listConversations": true, "query.sync": true,
}

type strangerCall struct {
	method string
	want   string
	params func(p place, what string) (client.Object, bool)
}

// in calls a method on a conversation of any kind.
func in(method string, more client.Object) strangerCall {
	return strangerCall{method, "NOT_FOUND", func(p place, what string) (client.Object, bool) {
		o := client.Object{"conversationId": map[string]string{"conversation": p.conversation, "group": "g~" + p.group, "inbox": p.inbox}[what]}
		maps.Copy(o, more)
		return o, true
	}}
}

// of calls a method on a group.
func of(method string, more func(p place) client.Object) strangerCall {
	return strangerCall{method, "NOT_FOUND", func(p place, what string) (client.Object, bool) {
		o := client.Object{"groupId": p.group}
		if more != nil {
			maps.Copy(o, more(p))
		}
		return o, what == "group"
	}}
}

func member(p place) client.Object { return client.Object{"userId": p.user} }

var strangerCalls = []strangerCall{
	in("message.send", client.Object{"clientMsgId": "e1", "text": client.Object{"text": "x"}}),
	in("message.markRead", client.Object{"seq": 1}),
	in("message.typing", nil),
	in("query.getConversation", nil),
	in("query.history", nil),
	in("query.entries", nil),
	of("group.get", nil),
	of("group.update", func(place) client.Object { return client.Object{"name": "mine"} }),
	of("group.dissolve", nil),
	of("group.listMembers", nil),
	of("group.addMembers", func(p place) client.Object { return client.Object{"userIds": []string{p.user}} }),
	of("group.removeMember", member),
	of("group.updateMember", func(p place) client.Object { return client.Object{"userId": p.user, "nickname": "x"} }),
	of("group.leave", nil),
	of("group.transfer", member),
	{"auth.revokeSession", "NOT_FOUND", func(p place, what string) (client.Object, bool) {
		return client.Object{"sessionId": p.session}, what == "conversation"
	}},
	{"push.register", "NOT_FOUND", func(p place, what string) (client.Object, bool) {
		return client.Object{"deviceId": strings.ToLower("dev-" + p.user), "provider": "fcm", "token": "t"}, what == "conversation"
	}},
	{"push.unregister", "NOT_FOUND", func(p place, what string) (client.Object, bool) {
		return client.Object{"deviceId": "dev-" + p.user}, what == "conversation"
	}},
}
