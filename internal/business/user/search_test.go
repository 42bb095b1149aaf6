package user_test

import (
	"fmt"
	"strings"
	"testing"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// Who finds whom by what. The exact username and the id always find.
func TestWhoMayFind(t *testing.T) {
	w := newWorld(t, "ann", "fay")
	for _, audience := range []userv1.Audience{everyone, friends, nobody} {
		id := strings.ToLower(strings.TrimPrefix(audience.String(), "AUDIENCE_"))
		u := &userv1.User{UserId: id, Username: "name." + id, Nickname: "Kim"}
		if _, err := w.internal.CreateProfile(t.Context(), &userv1.CreateProfileRequest{User: u}); err != nil {
			t.Fatal(err)
		}
		w.befriend(id, "fay")
		if _, err := w.pub.UpdateSettings(w.as(id), &userv1.UpdateSettingsRequest{WhoMayFind: audience.Enum()}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ by, query, want string }{
		{"ann", "kim", "everyone"},
		{"fay", "kim", "everyone friends"},
		{"ann", "name.everyone", "everyone"},
		{"ann", "name.friends", "friends"},
		{"fay", "name.friends", "friends"},
		{"friends", "name.friends", "friends"}, // oneself
		{"ann", "name.nobody", "nobody"},
		{"fay", "name.nobody", "nobody"},
		{"nobody", "name.nobody", "nobody"},
		{"ann", "friends", "friends"},
		{"ann", "nobody", "nobody"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.by, " ", tt.query), func(t *testing.T) {
			resp, err := w.pub.Search(w.as(tt.by), &userv1.SearchRequest{Query: tt.query})
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, u := range resp.GetUsers() {
				ids = append(ids, u.GetUserId())
			}
			if got := strings.Join(ids, " "); got != tt.want {
				t.Errorf("Search(%q) by %s = %q; want %q", tt.query, tt.by, got, tt.want)
			}
		})
	}
	// A friendship that ended finds no more.
	if _, err := w.pub.RemoveFriend(w.as("friends"), &userv1.RemoveFriendRequest{UserId: "fay"}); err != nil {
		t.Fatal(err)
	}
	if resp, err := w.pub.Search(w.as("fay"), &userv1.SearchRequest{Query: "kim"}); err != nil || len(resp.GetUsers()) != 1 {
		t.Errorf("Search after the friendship ended = %v, %v; want one", resp, err)
	}
}

// No stranger's request comes to somebody who takes friends' only; whom one asks oneself may answer.
func TestWhoMayAddFriends(t *testing.T) {
	w := newWorld(t, "ann", "bob", "cid")
	w.befriend("ann", "cid")
	if _, err := w.pub.UpdateSettings(w.as("ann"), &userv1.UpdateSettingsRequest{WhoMayAdd: friends.Enum()}); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "request of a stranger", w.request("bob", "ann", ""), fault.NotAllowed)
	wantReason(t, "request of a friend", w.request("cid", "ann", ""), "")
	wantReason(t, "ann asks", w.request("ann", "bob", ""), "")
	wantReason(t, "bob answers by asking", w.request("bob", "ann", ""), "")
	if got := w.friendsOf("ann"); got != "bob cid" {
		t.Errorf("ann's friends = %q; want bob cid", got)
	}
}
