package system

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/wire"
	"github.com/oceanchat/oceanchat/test/client"
)

// What groups' methods answer who is not what they need: a plain member, one who was removed, and an admin.
var groupCalls = []struct {
	method, member, former, admin string // reasons; "-" is not tried, as it may be done
	params                        func(p place) client.Object
}{
	{"group.get", "-", "-", "-", nil}, // who was a member may see what the group is now
	{"group.listMembers", "-", "NOT_MEMBER", "-", nil},
	{"group.leave", "-", "NOT_MEMBER", "-", nil},
	{"group.update", "ROLE_TOO_LOW", "NOT_MEMBER", "-", func(place) client.Object { return client.Object{"name": "mine"} }},
	{"group.addMembers", "ROLE_TOO_LOW", "NOT_MEMBER", "-", func(p place) client.Object { return client.Object{"userIds": []string{p.user}} }},
	{"group.removeMember", "ROLE_TOO_LOW", "NOT_MEMBER", "ROLE_TOO_LOW", userID},
	{"group.updateMember", "ROLE_TOO_LOW", "NOT_MEMBER", "ROLE_TOO_LOW", func(p place) client.Object { return client.Object{"userId": p.user, "role": "member"} }},
	{"group.transfer", "ROLE_TOO_LOW", "NOT_MEMBER", "ROLE_TOO_LOW", userID},
	{"group.dissolve", "ROLE_TOO_LOW", "NOT_MEMBER", "ROLE_TOO_LOW", nil},
}

// Every method of groups at every door, by a plain member, an admin and a former member, on the group and its owner.
func TestGroupRoles(t *testing.T) {
	s := startDoors(t, false)
	ann := s.member(t, "ann")
	bob, max, adm := s.guest(t, "bob"), s.guest(t, "max"), s.guest(t, "adm")
	group := s.group(t, ann, bob.User, max.User, adm.User)
	s.ok(t, ann, "PATCH", "/groups/"+group+"/members/"+adm.ID, client.Object{"role": "admin"}, nil)
	s.say(t, ann, "groupId", group, "for all")
	s.ok(t, ann, "DELETE", "/groups/"+group+"/members/"+max.ID, nil, nil)
	s.say(t, ann, "groupId", group, "after max")
	p := place{group: group, user: ann.ID}
	covered := map[string]bool{"group.create": true}
	for _, tt := range groupCalls {
		covered[tt.method] = true
		m, _ := wire.Lookup(tt.method)
		params := client.Object{"groupId": group}
		if tt.params != nil {
			maps.Copy(params, tt.params(p))
		}
		for g, want := range map[*guest]string{bob: tt.member, max: tt.former, adm: tt.admin} {
			if want == "-" {
				continue
			}
			for _, w := range s.ways(t, g, m) {
				if got := w.call(params); !strings.HasPrefix(got, "error") || !strings.Contains(got, `"`+want+`"`) {
					t.Errorf("%s of %s by %s: %s; want %s", tt.method, g.Username, w.name, got, want)
				}
			}
		}
	}
	for _, m := range wire.Methods() {
		if strings.HasPrefix(m.Name, "group.") && !covered[m.Name] {
			t.Errorf("%s is not in the table of groups' roles", m.Name)
		}
	}
	s.formerMember(t, max, "g~"+group, "after max")
}

// formerMember looks for a text in everything that is left to somebody who was removed before it was sent.
func (s *server) formerMember(t *testing.T, g *guest, conversation, secret string) {
	t.Helper()
	for _, m := range wire.Methods() {
		if !strings.HasPrefix(m.Name, "query.") && !strings.HasPrefix(m.Name, "message.") {
			continue
		}
		params := client.Object{}
		if m.Descriptor.Input().Fields().ByName("conversation_id") != nil {
			params["conversationId"] = conversation
		}
		if m.Name == "message.send" {
			params["clientMsgId"], params["text"] = "late", client.Object{"text": "still here"}
		}
		for _, w := range s.ways(t, g, m) {
			got := w.call(params)
			if strings.Contains(got, secret) {
				t.Errorf("%s of a former member by %s shows what was sent after: %s", m.Name, w.name, got)
			}
			if m.Name == "message.send" && !strings.Contains(got, "NOT_MEMBER") {
				t.Errorf("%s of a former member by %s: %s; want NOT_MEMBER", m.Name, w.name, got)
			}
		}
	}
	var seen page
	a := s.ok(t, g.User, "GET", "/conversations/"+conversation+"/messages?afterSeq=0", nil, &seen)
	if !json.Valid(a.raw) || !strings.Contains(string(a.raw), "for all") {
		t.Errorf("history of a former member = %s; want what was sent before the removal", a.raw)
	}
}

// Somebody who is blocked cannot reach who blocked it at any door, and learns no more of it than of others.
func TestBlocked(t *testing.T) {
	s := startDoors(t, false)
	ann, oth := s.member(t, "alba"), s.member(t, "otto")
	blo := s.guest(t, "blo")
	s.say(t, blo.User, "toUserId", ann.ID, "before")
	s.ok(t, ann, "PUT", "/users/me/blocks/"+blo.ID, client.Object{}, nil)
	send, _ := wire.Lookup("message.send")
	for _, w := range s.ways(t, blo, send) {
		params := client.Object{"clientMsgId": "b1", "toUserId": ann.ID, "text": client.Object{"text": "x"}}
		if strings.Contains(w.name, "{conversation_id}") {
			delete(params, "toUserId")
			params["conversationId"] = directOf(ann, blo.User)
		}
		if got := w.call(params); !strings.HasPrefix(got, "error") || !strings.Contains(got, "NOT_ALLOWED") {
			t.Errorf("message.send by %s of one who is blocked: %s; want NOT_ALLOWED", w.name, got)
		}
	}
	for _, method := range []string{"user.get", "user.search", "presence.get", "user.requestFriend", "group.create"} {
		m, _ := wire.Lookup(method)
		for _, w := range s.ways(t, blo, m) {
			ask := func(u *client.User) string {
				params := client.Object{"userId": u.ID, "query": u.Username, "userIds": []string{u.ID}}
				if method == "group.create" {
					params = client.Object{"name": "G", "memberIds": []string{u.ID}}
				}
				got := strings.NewReplacer(u.ID, "ID", u.Username, "NAME").Replace(w.call(params))
				return changing.ReplaceAllString(got, "")
			}
			if a, b := ask(ann), ask(oth); a != b {
				t.Errorf("%s by %s of who blocked: %s; of another: %s; want the same", method, w.name, a, b)
			}
		}
	}
	for path, mark := range map[string]string{"/users/me/friend-requests": blo.ID, "/conversations": `"kind":"group"`} {
		if got := s.ok(t, ann, "GET", path, nil, nil); strings.Contains(string(got.raw), mark) {
			t.Errorf("GET %s of who blocked = %s; want nothing of the blocked one", path, got.raw)
		}
		if got := s.ok(t, oth, "GET", path, nil, nil); !strings.Contains(string(got.raw), mark) {
			t.Errorf("GET %s of who did not block = %s; want what the other one did", path, got.raw)
		}
	}
}

// changing is what differs from one group to the next, and how many of those asked are in it.
var changing = regexp.MustCompile(`"(groupId|createdAt)":"[^"]*",?|"memberCount":\d,`)
