package system

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/oceanchat/oceanchat/internal/wire"
	"github.com/oceanchat/oceanchat/test/client"
)

// A way is how somebody calls a method: by a binding to REST or on a long connection of any door. It returns the answer,
// or "error " and the error object without its requestId.
type way struct {
	name string
	call func(params client.Object) string
}

// A guest is somebody with a line at each door.
type guest struct {
	*client.User
	lines []*line
}

func (s *server) guest(t *testing.T, name string) *guest {
	t.Helper()
	g := &guest{User: s.member(t, name)}
	for _, d := range doors {
		l := dialDoor(t, s, d)
		u := s.device(t, g.User, g.Device+d.name, "web")
		if got := l.connectAs(u); strings.HasPrefix(got, "error") {
			t.Fatalf("%s connects: %s", name, got)
		}
		g.lines = append(g.lines, l)
	}
	return g
}

// ways returns all ways to call a method as the guest.
func (s *server) ways(t *testing.T, g *guest, m wire.Method) []way {
	t.Helper()
	var all []way
	for _, b := range bindingsOf(m) {
		all = append(all, way{b.verb + " " + b.path, func(params client.Object) string {
			path, body := b.fill(params)
			return withoutRequestID(t, s.rest(t, g.User, b.verb, path, body))
		}})
	}
	for _, l := range g.lines {
		if m.Realtime {
			all = append(all, way{l.door.name, func(params client.Object) string {
				return volatileRequest.ReplaceAllString(l.call(m.Name, show(params)), "")
			}})
		}
	}
	return all
}

var volatileRequest = regexp.MustCompile(`,"requestId":"[^"]*"`)

func withoutRequestID(t *testing.T, a answer) string {
	t.Helper()
	text := volatileRequest.ReplaceAllString(string(a.raw), "")
	if a.status == 200 {
		return text
	}
	return fmt.Sprintf("error %d %s", a.status, text)
}

// A binding is a method's route.
type binding struct {
	verb, path string // as /groups/{group_id}
	fields     protoreflect.FieldDescriptors
}

func bindingsOf(m wire.Method) []binding {
	rule, ok := proto.GetExtension(m.Descriptor.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return nil
	}
	var all []binding
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		b := binding{fields: m.Descriptor.Input().Fields()}
		for verb, path := range map[string]string{
			"GET": r.GetGet(), "PUT": r.GetPut(), "POST": r.GetPost(), "PATCH": r.GetPatch(), "DELETE": r.GetDelete(),
		} {
			if path != "" {
				b.verb, b.path = verb, path
			}
		}
		all = append(all, b)
	}
	return all
}

// public returns the path as clients know it: /groups/{groupId}.
func (b binding) public() string {
	return inPath.ReplaceAllStringFunc(b.path, func(p string) string { return "{" + b.json(strings.Trim(p, "{}")) + "}" })
}

func (b binding) json(field string) string {
	return b.fields.ByName(protoreflect.Name(field)).JSONName()
}

var inPath = regexp.MustCompile(`{[a-z_]+}`)

// fill puts params where REST has them: into the path, and the rest into the query or the body.
func (b binding) fill(params client.Object) (path string, body any) {
	rest := maps.Clone(params)
	path = inPath.ReplaceAllStringFunc(b.path, func(p string) string {
		name := b.json(strings.Trim(p, "{}"))
		v, ok := rest[name]
		delete(rest, name)
		if !ok {
			v = "none"
		}
		return fmt.Sprint(v)
	})
	if b.verb != "GET" && b.verb != "DELETE" {
		return path, rest
	}
	q := url.Values{}
	for name, v := range rest {
		if list, ok := v.([]string); ok {
			v = strings.Join(list, ",")
		}
		q.Set(name, fmt.Sprint(v))
	}
	if len(q) == 0 {
		return path, nil
	}
	return path + "?" + q.Encode(), nil
}

// place names one thing of each kind.
type place struct{ conversation, group, inbox, user, session, device string }

// id returns the conversation's id of a kind.
func (p place) id(kind string) string {
	return map[string]string{"conversation": p.conversation, "group": "g~" + p.group, "inbox": p.inbox}[kind]
}

// without returns text without the ids that the caller gave itself.
func (p place) without(text string) string {
	for _, id := range []string{p.conversation, p.inbox, p.group, p.user, p.session, p.device} {
		text = strings.ReplaceAll(text, id, "ID")
	}
	return text
}

// A strangerCall is a call of what another has. want is the reason that it is refused for, "" where the answer tells nothing.
type strangerCall struct {
	method, want string
	kinds        []string
	params       func(p place, kind string) client.Object
}

// in calls a method on a conversation of any kind.
func in(method string, more client.Object) strangerCall {
	return strangerCall{method, "NOT_FOUND", []string{"conversation", "group", "inbox"}, func(p place, kind string) client.Object {
		o := client.Object{"conversationId": p.id(kind)}
		maps.Copy(o, more)
		return o
	}}
}

// of calls a method on a group.
func of(method string, more func(p place) client.Object) strangerCall {
	return strangerCall{method, "NOT_FOUND", []string{"group"}, func(p place, _ string) client.Object {
		o := client.Object{"groupId": p.group}
		if more != nil {
			maps.Copy(o, more(p))
		}
		return o
	}}
}

// on calls a method on something else.
func on(method, want string, params func(p place) client.Object) strangerCall {
	return strangerCall{method, want, []string{"user"}, func(p place, _ string) client.Object { return params(p) }}
}

func userID(p place) client.Object { return client.Object{"userId": p.user} }

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
	of("group.removeMember", userID),
	of("group.updateMember", func(p place) client.Object { return client.Object{"userId": p.user, "nickname": "x"} }),
	of("group.leave", nil),
	of("group.transfer", userID),
	on("message.send", "NOT_FOUND", func(p place) client.Object {
		return client.Object{"clientMsgId": "e2", "groupId": p.group, "text": client.Object{"text": "x"}}
	}),
	on("auth.revokeSession", "NOT_FOUND", func(p place) client.Object { return client.Object{"sessionId": p.session} }),
	on("push.register", "NOT_FOUND", func(p place) client.Object {
		return client.Object{"deviceId": p.device, "provider": "fcm", "token": "t"}
	}),
	on("push.unregister", "NOT_FOUND", func(p place) client.Object { return client.Object{"deviceId": p.device} }),
	on("user.updateFriend", "NOT_FOUND", func(p place) client.Object { return client.Object{"userId": p.user, "remark": "x"} }),
	on("user.removeFriend", "NOT_FOUND", userID),
	on("user.acceptFriend", "NOT_FOUND", userID),
	on("user.declineFriend", "NOT_FOUND", userID),
	on("presence.get", "", func(p place) client.Object { return client.Object{"userIds": []string{p.user}} }),
}

// ownOnly says of each other method why it gives a stranger nothing of another's.
var ownOnly = map[string]string{
	"auth.register": "public", "auth.login": "public", "auth.refresh": "public",
	"auth.logout": "the caller", "auth.changePassword": "the caller", "auth.listSessions": "the caller",
	"user.getMe": "the caller", "user.updateMe": "the caller", "user.getSettings": "the caller", "user.updateSettings": "the caller",
	"user.listFriends": "the caller", "user.listFriendRequests": "the caller", "user.listBlocks": "the caller",
	"query.listConversations": "the caller", "query.sync": "the caller",
	"user.get":           "users may be seen by who knows their id",
	"user.search":        "as whoMayFind of who is looked for allows; TestContractUsers",
	"user.requestFriend": "users may be asked, as whoMayAdd of theirs allows; TestContractFriends",
	"user.unblock":       "the caller's own list; a user may be seen, as by user.get",
	"user.block":         "users may be blocked by who knows their id",
	"group.create":       "members are users; TestContractGroup",
}

// Invariant 4 and "what is not yours answers exactly as what is not there": every method of the contract at every door,
// called by a stranger on things that exist and on things that do not.
func TestStranger(t *testing.T) {
	s := startDoors(t, false)
	ann, bob := s.member(t, "ann"), s.member(t, "bob")
	eve := s.guest(t, "eve")
	var sessions struct{ Sessions []struct{ SessionID string } }
	s.ok(t, ann, "GET", "/auth/sessions", nil, &sessions)
	const nowhere = "nobody0000000000000000000"
	there := place{s.say(t, ann, "toUserId", bob.ID, "x").ConversationID, s.group(t, ann, bob), "i~" + ann.ID, ann.ID, sessions.Sessions[0].SessionID, ann.Device}
	absent := place{"d~aaa~bbb", nowhere, "i~" + nowhere, nowhere, nowhere, nowhere}
	covered := map[string]bool{}
	for _, tt := range strangerCalls {
		m, ok := wire.Lookup(tt.method)
		if !ok {
			t.Fatalf("there is no method %s", tt.method)
		}
		covered[tt.method] = true
		for _, w := range s.ways(t, eve, m) {
			for _, kind := range tt.kinds {
				if strings.Contains(w.name, "{conversation_id}") && tt.params(there, kind)["conversationId"] == nil {
					continue // a route that names another kind of target
				}
				theirs := there.without(w.call(tt.params(there, kind)))
				none := absent.without(w.call(tt.params(absent, kind)))
				if theirs != none {
					t.Errorf("%s by %s on another's %s: %s\non what is not there: %s; want the same", tt.method, w.name, kind, theirs, none)
				}
				if refused := strings.HasPrefix(theirs, "error"); refused != (tt.want != "") || !strings.Contains(theirs, tt.want) {
					t.Errorf("%s by %s on another's %s: %s; want %s", tt.method, w.name, kind, theirs, tt.want)
				}
			}
		}
	}
	for _, m := range wire.Methods() {
		if covered[m.Name] == (ownOnly[m.Name] != "") {
			t.Errorf("%s is in none of the strangers' tables, or in both", m.Name)
		}
		for _, name := range []protoreflect.Name{"conversation_id", "group_id", "message_id", "session_id"} {
			if m.Descriptor.Input().Fields().ByName(name) != nil && !covered[m.Name] {
				t.Errorf("%s has a %s and is not in the strangers' table", m.Name, name)
			}
		}
	}
}

// Who has no session, or one that ended, gets nothing anywhere: every route of the description, every method of the long
// connection; and the services' own methods are nobody's.
func TestNobody(t *testing.T) {
	s := startDoors(t, false)
	ann := s.member(t, "ann")
	old := *ann
	s.ok(t, ann, "POST", "/auth/logout", client.Object{}, nil)
	ann = s.device(t, ann, "dev-2", "web")
	var doc struct{ Paths map[string]map[string]any }
	s.ok(t, nil, "GET", "/openapi.json", nil, &doc)
	described := map[string]bool{"GET /.well-known/jwks.json": true}
	for path, verbs := range doc.Paths {
		for verb := range verbs {
			described[strings.ToUpper(verb)+" "+path] = true
		}
	}
	known := map[string]bool{"GET /.well-known/jwks.json": true}
	for _, m := range wire.Methods() {
		for _, b := range bindingsOf(m) {
			known[b.verb+" "+b.public()] = true
			if m.Public {
				continue
			}
			path, _ := b.fill(client.Object{})
			s.fails(t, nil, b.verb, path, nil, 401, "TOKEN_MISSING")
			s.fails(t, &old, b.verb, path, nil, 401, "SESSION_ENDED")
			s.fails(t, &client.User{REST: client.REST{Token: old.Refresh}}, b.verb, path, nil, 401, "TOKEN_INVALID")
		}
	}
	if !maps.Equal(described, known) {
		t.Errorf("openapi.json describes %v; the methods' bindings are %v", slices.Sorted(maps.Keys(described)), slices.Sorted(maps.Keys(known)))
	}
	for _, d := range doors {
		l := dialDoor(t, s, d)
		if got := l.connectAs(&old); !strings.Contains(got, "SESSION_ENDED") {
			t.Errorf("%s: connect with a session that ended: %s", d.name, got)
		}
		l.wantClosed(4001)
		l = dialDoor(t, s, d)
		if got := l.connectAs(ann); strings.HasPrefix(got, "error") {
			t.Fatalf("%s: connect: %s", d.name, got)
		}
		for _, m := range wire.Methods() {
			if m.Realtime {
				nobody := dialDoor(t, s, d)
				nobody.request(m.Name, "{}", 1)
				nobody.wantClosed(4001, "TOKEN_MISSING")
			} else if got := l.call(m.Name, "{}"); !strings.Contains(got, "UNKNOWN_METHOD") {
				t.Errorf("%s: %s on the long connection: %s; want UNKNOWN_METHOD", d.name, m.Name, got)
			}
		}
		for _, name := range []string{"auth.checkSessions", "message.append", "group.maySend", "/oceanchat.message.v1.MessageInternalService/Append", "router.route", "presence.hello"} {
			if got := l.call(name, "{}"); !strings.Contains(got, "UNKNOWN_METHOD") {
				t.Errorf("%s: %s: %s; want UNKNOWN_METHOD", d.name, name, got)
			}
		}
	}
}
