package system

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
)

// Every list of every door: a size above the most is the most; one that is no 32-bit number, or below 1, is answered
// with the field that is wrong, and never as if the request could not be read.
func TestContractPageSizes(t *testing.T) {
	s := startContract(t)
	ann := s.user("ann")
	group := s.group(t, ann)
	lists := []struct{ method, path, field, params string }{
		{"auth.listSessions", "/auth/sessions?", "pageSize", ``},
		{"user.search", "/users?query=x&", "pageSize", `"query":"x",`},
		{"user.listFriends", "/users/me/friends?", "pageSize", ``},
		{"user.listFriendRequests", "/users/me/friend-requests?", "pageSize", ``},
		{"user.listBlocks", "/users/me/blocks?", "pageSize", ``},
		{"group.listMembers", "/groups/" + group + "/members?", "pageSize", `"groupId":"` + group + `",`},
		{"query.listConversations", "/conversations?", "pageSize", ``},
		{"query.history", "/conversations/g~" + group + "/messages?", "limit", `"conversationId":"g~` + group + `",`},
		{"query.entries", "/conversations/g~" + group + "/entries?", "limit", `"conversationId":"g~` + group + `",`},
	}
	sizes := []struct {
		size string
		ok   bool
	}{
		{"1", true},
		{"100", true},
		{"101", true},
		{"1e3", true},
		{"2147483647", true},
		{"2147483648", false},
		{"4294967297", false}, // 1 in 32 bits
		{"9007199254740993", false},
		{"18446744073709551617", false},
		{"1e400", false},
		{"1" + strings.Repeat("0", 400), false},
		{"0", false},
		{"-1", false},
		{"-2147483649", false},
		{"1.5", false},
	}
	w, _ := s.line(t, ann, "")
	for _, l := range lists {
		t.Run(l.method, func(t *testing.T) {
			for _, tt := range sizes {
				a := s.rest(t, ann, "GET", l.path+l.field+"="+tt.size, nil)
				var e client.Error
				_ = json.Unmarshal(a.raw, &e)
				if named := e.Reason == "INVALID_FIELD" && len(e.Fields) == 1 && e.Fields[0].Field == l.field; (a.status == 200) != tt.ok || !tt.ok && !named {
					t.Errorf("REST, %s = %.20s: %d %.300s; want ok %v, or the field named", l.field, tt.size, a.status, a.raw, tt.ok)
				}
				got := w.call(t, l.method, json.RawMessage(fmt.Sprintf(`{%s"%s":%s}`, l.params, l.field, tt.size)))
				if named := strings.Contains(got, `"INVALID_FIELD"`) && strings.Contains(got, `"field":"`+l.field+`"`); strings.Contains(got, `"result"`) != tt.ok || !tt.ok && !named {
					t.Errorf("long connection, %s = %.20s: %.300s; want ok %v, or the field named", l.field, tt.size, got, tt.ok)
				}
			}
		})
	}
}
