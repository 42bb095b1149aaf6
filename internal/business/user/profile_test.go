package user_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

const (
	everyone = userv1.Audience_AUDIENCE_EVERYONE
	friends  = userv1.Audience_AUDIENCE_FRIENDS
	nobody   = userv1.Audience_AUDIENCE_NOBODY
)

// Invariant 8: each broken rule is named, all at once.
func TestInvalidFields(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	long := func(n int) *string { return new(strings.Repeat("ä", n)) }
	size := func(n int32) *int32 { return &n }
	tests := []struct {
		name string
		call func(context.Context) error
		want string // fields, joined
	}{
		{"get bad id", func(ctx context.Context) error {
			_, err := w.pub.Get(ctx, &userv1.GetRequest{UserId: "a~b"})
			return err
		}, "userId"},
		{"update all wrong", func(ctx context.Context) error {
			_, err := w.pub.UpdateMe(ctx, &userv1.UpdateMeRequest{Nickname: long(65), Avatar: new("javascript:alert(1)"), Bio: long(501)})
			return err
		}, "nickname avatar bio"},
		{"nickname with a line end", func(ctx context.Context) error {
			_, err := w.pub.UpdateMe(ctx, &userv1.UpdateMeRequest{Nickname: new("a\nb")})
			return err
		}, "nickname"},
		{"avatar too long", func(ctx context.Context) error {
			_, err := w.pub.UpdateMe(ctx, &userv1.UpdateMeRequest{Avatar: new("https://x/" + strings.Repeat("a", 512))})
			return err
		}, "avatar"},
		{"settings all wrong", func(ctx context.Context) error {
			_, err := w.pub.UpdateSettings(ctx, &userv1.UpdateSettingsRequest{
				WhoMayFind: userv1.Audience(4).Enum(), WhoMayAdd: userv1.Audience(-1).Enum(), WhoMayWrite: nobody.Enum(),
				LastSeen: userv1.Audience(9).Enum(), PushPreview: userv1.PushPreview(9).Enum(),
			})
			return err
		}, "whoMayFind whoMayAdd whoMayWrite lastSeen pushPreview"},
		{"empty search", func(ctx context.Context) error {
			_, err := w.pub.Search(ctx, &userv1.SearchRequest{Query: "  "})
			return err
		}, "query"},
		{"search with everything wrong", func(ctx context.Context) error {
			_, err := w.pub.Search(ctx, &userv1.SearchRequest{Query: *long(65), PageSize: size(0), PageToken: "%"})
			return err
		}, "query pageSize pageToken"},
		{"search with a token of another list", func(ctx context.Context) error {
			_, err := w.pub.Search(ctx, &userv1.SearchRequest{Query: "x", PageToken: "ZnJpZW5kcy5ib2I"})
			return err
		}, "pageToken"},
		{"search with a forged cursor", func(ctx context.Context) error {
			_, err := w.pub.Search(ctx, &userv1.SearchRequest{Query: "x", PageToken: "c2VhcmNoLno"})
			return err
		}, "pageToken"},
		{"negative page", func(ctx context.Context) error {
			_, err := w.pub.ListFriends(ctx, &userv1.ListFriendsRequest{PageSize: size(-1)})
			return err
		}, "pageSize"},
		{"blocks with a forged cursor", func(ctx context.Context) error {
			_, err := w.pub.ListBlocks(ctx, &userv1.ListBlocksRequest{PageToken: "YmxvY2tzLnh4eA"})
			return err
		}, "pageToken"},
		{"unknown direction", func(ctx context.Context) error {
			_, err := w.pub.ListFriendRequests(ctx, &userv1.ListFriendRequestsRequest{Direction: 7})
			return err
		}, "direction"},
		{"request to oneself, too long", func(ctx context.Context) error {
			_, err := w.pub.RequestFriend(ctx, &userv1.RequestFriendRequest{UserId: "ann", Message: *long(201)})
			return err
		}, "userId message"},
		{"accept oneself", func(context.Context) error { return w.accept("ann", "ann") }, "userId"},
		{"block oneself", func(context.Context) error { return w.block("ann", "ann") }, "userId"},
		{"unblock bad id", func(context.Context) error { return w.unblock("ann", "") }, "userId"},
		{"decline bad id", func(ctx context.Context) error {
			_, err := w.pub.DeclineFriend(ctx, &userv1.DeclineFriendRequest{UserId: "x/y"})
			return err
		}, "userId"},
		{"remove oneself", func(ctx context.Context) error {
			_, err := w.pub.RemoveFriend(ctx, &userv1.RemoveFriendRequest{UserId: "ann"})
			return err
		}, "userId"},
		{"friend's notes", func(ctx context.Context) error {
			_, err := w.pub.UpdateFriend(ctx, &userv1.UpdateFriendRequest{
				UserId: "bob", Remark: long(65), Tags: &userv1.TagList{Values: []string{"ok", " ", *long(33)}},
			})
			return err
		}, "remark tags[1] tags[2]"},
		{"too many tags", func(ctx context.Context) error {
			tags := &userv1.TagList{}
			for i := range 21 {
				tags.Values = append(tags.Values, fmt.Sprint(i))
			}
			_, err := w.pub.UpdateFriend(ctx, &userv1.UpdateFriendRequest{UserId: "bob", Tags: tags})
			return err
		}, "tags"},
		{"relation of bad ids", func(ctx context.Context) error {
			_, err := w.internal.GetRelation(ctx, &userv1.GetRelationRequest{ActorId: "a:b"})
			return err
		}, "actorId targetId"},
		{"profile without names", func(ctx context.Context) error {
			_, err := w.internal.CreateProfile(ctx, &userv1.CreateProfileRequest{})
			return err
		}, "user.userId user.username"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call(w.as("ann"))
			wantReason(t, tt.name, err, fault.InvalidFieldReason)
			var got []string
			for _, f := range fault.Of(err).Fields {
				got = append(got, f.Field)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("fields = %q; want %q", s, tt.want)
			}
		})
	}
}

// Every public method needs a session, and users that do not exist are not found.
func TestStrangersAndUnknownUsers(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	id := "nobody1"
	tests := []struct {
		name string
		call func(context.Context) error
		want fault.Reason // for ann
	}{
		{"get", func(ctx context.Context) error {
			_, err := w.pub.Get(ctx, &userv1.GetRequest{UserId: id})
			return err
		}, fault.NotFoundReason},
		{"getMe", func(ctx context.Context) error { _, err := w.pub.GetMe(ctx, &userv1.GetMeRequest{}); return err }, ""},
		{"updateMe", func(ctx context.Context) error { _, err := w.pub.UpdateMe(ctx, &userv1.UpdateMeRequest{}); return err }, ""},
		{"search", func(ctx context.Context) error {
			_, err := w.pub.Search(ctx, &userv1.SearchRequest{Query: id})
			return err
		}, ""},
		{"getSettings", func(ctx context.Context) error {
			_, err := w.pub.GetSettings(ctx, &userv1.GetSettingsRequest{})
			return err
		}, ""},
		{"updateSettings", func(ctx context.Context) error {
			_, err := w.pub.UpdateSettings(ctx, &userv1.UpdateSettingsRequest{})
			return err
		}, ""},
		{"listFriends", func(ctx context.Context) error {
			_, err := w.pub.ListFriends(ctx, &userv1.ListFriendsRequest{})
			return err
		}, ""},
		{"updateFriend", func(ctx context.Context) error {
			_, err := w.pub.UpdateFriend(ctx, &userv1.UpdateFriendRequest{UserId: id})
			return err
		}, fault.NotFoundReason},
		{"updateFriend of no friend", func(ctx context.Context) error {
			_, err := w.pub.UpdateFriend(ctx, &userv1.UpdateFriendRequest{UserId: "bob"})
			return err
		}, fault.NotFoundReason},
		{"removeFriend", func(ctx context.Context) error {
			_, err := w.pub.RemoveFriend(ctx, &userv1.RemoveFriendRequest{UserId: id})
			return err
		}, fault.NotFoundReason},
		{"requestFriend", func(ctx context.Context) error {
			_, err := w.pub.RequestFriend(ctx, &userv1.RequestFriendRequest{UserId: id})
			return err
		}, fault.NotFoundReason},
		{"listFriendRequests", func(ctx context.Context) error {
			_, err := w.pub.ListFriendRequests(ctx, &userv1.ListFriendRequestsRequest{})
			return err
		}, ""},
		{"acceptFriend", func(ctx context.Context) error {
			_, err := w.pub.AcceptFriend(ctx, &userv1.AcceptFriendRequest{UserId: "bob"})
			return err
		}, fault.NotFoundReason},
		{"declineFriend", func(ctx context.Context) error {
			_, err := w.pub.DeclineFriend(ctx, &userv1.DeclineFriendRequest{UserId: "bob"})
			return err
		}, fault.NotFoundReason},
		{"block", func(ctx context.Context) error {
			_, err := w.pub.Block(ctx, &userv1.BlockRequest{UserId: id})
			return err
		}, fault.NotFoundReason},
		{"unblock", func(ctx context.Context) error {
			_, err := w.pub.Unblock(ctx, &userv1.UnblockRequest{UserId: id})
			return err
		}, fault.NotFoundReason},
		{"listBlocks", func(ctx context.Context) error {
			_, err := w.pub.ListBlocks(ctx, &userv1.ListBlocksRequest{})
			return err
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantReason(t, "without a session", tt.call(t.Context()), fault.TokenMissing)
			wantReason(t, "as ann", tt.call(w.as("ann")), tt.want)
		})
	}
}

// USER-1: PATCH changes what is present; the zero value clears.
func TestUpdateMe(t *testing.T) {
	w := newWorld(t, "ann")
	steps := []struct {
		name string
		req  *userv1.UpdateMeRequest
		want *userv1.User
	}{
		{
			"set all", &userv1.UpdateMeRequest{Nickname: new(" Ann "), Avatar: new("https://x.org/a.png"), Bio: new("hi\nthere")},
			&userv1.User{UserId: "ann", Username: "ann", Nickname: "Ann", Avatar: "https://x.org/a.png", Bio: "hi\nthere"},
		},
		{"nothing", &userv1.UpdateMeRequest{}, &userv1.User{UserId: "ann", Username: "ann", Nickname: "Ann", Avatar: "https://x.org/a.png", Bio: "hi\nthere"}},
		{"one", &userv1.UpdateMeRequest{Avatar: new("m-1")}, &userv1.User{UserId: "ann", Username: "ann", Nickname: "Ann", Avatar: "m-1", Bio: "hi\nthere"}},
		{
			"clear", &userv1.UpdateMeRequest{Nickname: new(""), Avatar: new(""), Bio: new("")},
			&userv1.User{UserId: "ann", Username: "ann", Nickname: "ann"},
		},
	}
	for _, s := range steps {
		got, err := w.pub.UpdateMe(w.as("ann"), s.req)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if d := cmp.Diff(s.want, got.GetUser(), protocmp.Transform()); d != "" {
			t.Errorf("%s: answer (-want +got):\n%s", s.name, d)
		}
		me, err := w.pub.GetMe(w.as("ann"), &userv1.GetMeRequest{})
		if d := cmp.Diff(s.want, me.GetUser(), protocmp.Transform()); d != "" || err != nil {
			t.Errorf("%s: GetMe %v (-want +got):\n%s", s.name, err, d)
		}
	}
}

func TestUpdateSettings(t *testing.T) {
	w := newWorld(t, "ann")
	initial := &userv1.Settings{
		WhoMayFind: everyone, WhoMayAdd: everyone, WhoMayWrite: everyone, LastSeen: friends,
		PushPreview: userv1.PushPreview_PUSH_PREVIEW_ALL,
	}
	changed := &userv1.Settings{
		WhoMayFind: nobody, WhoMayAdd: nobody, WhoMayWrite: friends, LastSeen: nobody,
		PushPreview: userv1.PushPreview_PUSH_PREVIEW_NONE,
	}
	forFriends := &userv1.Settings{
		WhoMayFind: friends, WhoMayAdd: friends, WhoMayWrite: friends, LastSeen: nobody,
		PushPreview: userv1.PushPreview_PUSH_PREVIEW_NONE,
	}
	zero := userv1.Audience_AUDIENCE_UNSPECIFIED
	steps := []struct {
		name string
		req  *userv1.UpdateSettingsRequest
		want *userv1.Settings
	}{
		{"nothing", &userv1.UpdateSettingsRequest{}, initial},
		{"all", &userv1.UpdateSettingsRequest{
			WhoMayFind: nobody.Enum(), WhoMayAdd: nobody.Enum(), WhoMayWrite: friends.Enum(), LastSeen: nobody.Enum(),
			PushPreview: userv1.PushPreview_PUSH_PREVIEW_NONE.Enum(),
		}, changed},
		{"find and add for friends", &userv1.UpdateSettingsRequest{WhoMayFind: friends.Enum(), WhoMayAdd: friends.Enum()}, forFriends},
		{"clear", &userv1.UpdateSettingsRequest{
			WhoMayFind: zero.Enum(), WhoMayAdd: zero.Enum(), WhoMayWrite: zero.Enum(), LastSeen: zero.Enum(),
			PushPreview: userv1.PushPreview_PUSH_PREVIEW_UNSPECIFIED.Enum(),
		}, initial},
	}
	for _, s := range steps {
		got, err := w.pub.UpdateSettings(w.as("ann"), s.req)
		if d := cmp.Diff(s.want, got.GetSettings(), protocmp.Transform()); d != "" || err != nil {
			t.Errorf("%s: answer %v (-want +got):\n%s", s.name, err, d)
		}
		read, err := w.pub.GetSettings(w.as("ann"), &userv1.GetSettingsRequest{})
		if d := cmp.Diff(s.want, read.GetSettings(), protocmp.Transform()); d != "" || err != nil {
			t.Errorf("%s: GetSettings %v (-want +got):\n%s", s.name, err, d)
		}
		in, err := w.internal.GetUserSettings(t.Context(), &userv1.GetUserSettingsRequest{UserIds: []string{"nobody1", "ann"}})
		if err != nil || len(in.GetSettings()) != 2 {
			t.Fatalf("%s: GetUserSettings = %v, %v; want two", s.name, in, err)
		}
		if d := cmp.Diff([]*userv1.Settings{initial, s.want}, in.GetSettings(), protocmp.Transform()); d != "" {
			t.Errorf("%s: GetUserSettings (-want +got):\n%s", s.name, d)
		}
	}
}

func TestCreateProfileRepeated(t *testing.T) {
	w := newWorld(t)
	w.create("ann", "Ann")
	w.create("ann", "Other")
	got, err := w.pub.Get(w.as("ann"), &userv1.GetRequest{UserId: "ann"})
	if err != nil || got.GetUser().GetNickname() != "Ann" {
		t.Errorf("Get = %v, %v; want the first nickname", got, err)
	}
	in, err := w.internal.GetProfiles(t.Context(), &userv1.GetProfilesRequest{UserIds: []string{"x", "ann", "y"}})
	if err != nil || len(in.GetUsers()) != 1 || in.GetUsers()[0].GetUserId() != "ann" {
		t.Errorf("GetProfiles = %v, %v; want ann alone", in, err)
	}
	found, err := w.internal.FindUsername(t.Context(), &userv1.FindUsernameRequest{Username: "ann"})
	if err != nil || found.GetUserId() != "ann" {
		t.Errorf("FindUsername = %v, %v; want ann", found, err)
	}
	_, err = w.internal.FindUsername(t.Context(), &userv1.FindUsernameRequest{Username: "bob"})
	wantReason(t, "FindUsername of nobody", err, fault.NotFoundReason)
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	w.create("u1", "Smith")
	w.create("u2", "SMITH")
	w.create("u3", "smith")
	w.create("u4", "smith")
	w.create("smith", "Somebody") // by username and id
	w.create("hidden", "smith")
	if _, err := w.pub.UpdateSettings(w.as("hidden"), &userv1.UpdateSettingsRequest{WhoMayFind: nobody.Enum()}); err != nil {
		t.Fatal(err)
	}
	for _, u := range []*userv1.User{{UserId: "k1", Username: "y"}, {UserId: "x9", Username: "k1", Nickname: "z"}} {
		if _, err := w.internal.CreateProfile(t.Context(), &userv1.CreateProfileRequest{User: u}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.internal.CreateProfile(t.Context(), &userv1.CreateProfileRequest{User: &userv1.User{UserId: "x10", Username: "k1"}})
	wantReason(t, "a second user of that name", err, fault.UsernameTaken)
	tests := []struct {
		query string
		size  int32
		want  string
	}{
		{"smith", 50, "smith u1 u2 u3 u4"},
		{"SmItH", 50, "smith u1 u2 u3 u4"},
		{"smith", 1, "smith|u1|u2|u3|u4"},
		{"smith", 2, "smith u1|u2 u3|u4"},
		{"smith", 5, "smith u1 u2 u3 u4"},
		{"hidden", 50, "hidden"}, // its id always finds
		{"k1", 1, "x9|k1"},       // one's username is another's id
		{"k1", 50, "x9 k1"},
		{"nothing", 50, ""},
		{"smit", 50, ""},
		{"100%", 50, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s by %d", tt.query, tt.size), func(t *testing.T) {
			var pages []string
			token := ""
			for {
				resp, err := w.pub.Search(w.as("u1"), &userv1.SearchRequest{Query: tt.query, PageSize: &tt.size, PageToken: token})
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, u := range resp.GetUsers() {
					ids = append(ids, u.GetUserId())
				}
				pages = append(pages, strings.Join(ids, " "))
				if token = resp.GetNextPageToken(); token == "" {
					break
				}
			}
			if got := strings.Join(pages, "|"); got != tt.want {
				t.Errorf("Search = %q; want %q", got, tt.want)
			}
		})
	}
}
