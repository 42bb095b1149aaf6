package system

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
)

const userShape = `{"userId":"$id","username":"$text","nickname":"$text","avatar":"","bio":""}`

func loginBody(u *client.User) client.Object {
	return client.Object{"username": u.Username, "password": u.Password, "deviceId": u.Device, "platform": u.Platform}
}

// AUTH-1 to AUTH-4: the shapes and the rules of accounts and sessions.
func TestContractAuth(t *testing.T) {
	s := startContract(t)
	t.Run("register", func(t *testing.T) {
		for _, tt := range []struct {
			name     string
			body     any
			status   int
			reason   string
			template string
		}{
			{name: "all shapes", body: `{"username":"a_.9","password":"12345678","nickname":"Ann É"}`, status: 200, template: `{"user":{"userId":"$id","username":"a_.9","nickname":"Ann É","avatar":"","bio":"","$only":true},"$only":true}`},
			{name: "unknown fields are ignored", body: `{"username":"abc","password":"12345678","nickname":"N","zzz":{"a":[1]}}`, status: 200, template: `{"user":` + userShape + `}`},
			{name: "3 characters", body: `{"username":"abd","password":"12345678","nickname":"N"}`, status: 200, template: `{"user":` + userShape + `}`},
			{name: "32 characters", body: client.Object{"username": strings.Repeat("a", 32), "password": strings.Repeat("p", 128), "nickname": "N"}, status: 200, template: `{"user":` + userShape + `}`},
			{name: "2 characters", body: `{"username":"ab","password":"12345678","nickname":"N"}`, status: 400, reason: "INVALID_FIELD"},
			{name: "33 characters", body: client.Object{"username": strings.Repeat("b", 33), "password": "12345678", "nickname": "N"}, status: 400, reason: "INVALID_FIELD"},
			{name: "upper case", body: `{"username":"Abc","password":"12345678","nickname":"N"}`, status: 400, reason: "INVALID_FIELD"},
			{name: "a hyphen", body: `{"username":"a-bc","password":"12345678","nickname":"N"}`, status: 400, reason: "INVALID_FIELD"},
			{name: "7 characters of password", body: `{"username":"abe","password":"1234567","nickname":"N"}`, status: 400, reason: "INVALID_FIELD"},
			{name: "129 characters of password", body: client.Object{"username": "abe", "password": strings.Repeat("p", 129), "nickname": "N"}, status: 400, reason: "INVALID_FIELD"},
			{name: "no password", body: `{"username":"abe"}`, status: 400, reason: "INVALID_FIELD"},
			{name: "taken", body: `{"username":"abc","password":"12345678","nickname":"N"}`, status: 409, reason: "USERNAME_TAKEN"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if tt.reason != "" {
					s.fails(t, nil, "POST", "/auth/register", tt.body, tt.status, tt.reason)
					return
				}
				wants(t, "register", s.ok(t, nil, "POST", "/auth/register", tt.body, nil).raw, tt.template)
			})
		}
	})
	t.Run("error object", func(t *testing.T) {
		a := s.rest(t, nil, "POST", "/auth/register", `{"username":"A","password":"12345678"}`)
		wants(t, "error", a.raw, `{"code":"INVALID_ARGUMENT","reason":"INVALID_FIELD","message":"$text","fields":[{"field":"username","rule":"$text","$only":true}],"retryAfterMs":0,"requestId":"$text","$only":true}`)
		a = s.rest(t, nil, "GET", "/users/me", nil)
		wants(t, "error", a.raw, `{"code":"UNAUTHENTICATED","reason":"TOKEN_MISSING","message":"$text","fields":[],"retryAfterMs":0,"requestId":"$text","$only":true}`)
		if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
			t.Errorf("Content-Type = %q; want application/json", ct)
		}
	})
	t.Run("login", func(t *testing.T) {
		u := s.user("login1")
		wants(t, "login", s.ok(t, nil, "POST", "/auth/login", loginBody(u), nil).raw,
			`{"accessToken":"$text","refreshToken":"$text","expiresIn":600,"user":`+userShape+`,"$only":true}`)
		for _, tt := range []struct{ name, field, value, reason string }{
			{"a bad device", "deviceId", "a b", "INVALID_FIELD"},
			{"no device", "deviceId", "", "INVALID_FIELD"},
			{"a device with ~", "deviceId", "a~b", "INVALID_FIELD"},
			{"65 characters of device", "deviceId", strings.Repeat("d", 65), "INVALID_FIELD"},
			{"no platform", "platform", "", "INVALID_FIELD"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				b := loginBody(u)
				b[tt.field] = tt.value
				s.fails(t, nil, "POST", "/auth/login", b, 400, tt.reason)
			})
		}
		for _, platform := range []string{"web", "ios", "android", "harmony", "desktop", "bot"} {
			b := loginBody(u)
			b["platform"], b["deviceId"] = platform, strings.Repeat("d", 63)+platform[:1]
			s.ok(t, nil, "POST", "/auth/login", b, nil)
		}
	})
	t.Run("sessions", func(t *testing.T) {
		u := s.user("sess1")
		phone := s.device(t, u, "phone", "ios")
		raw := s.ok(t, u, "GET", "/auth/sessions", nil, nil).raw
		var list struct {
			Sessions []struct {
				SessionID, DeviceID, Platform string
				Current                       bool
			}
			NextPageToken *string
		}
		if err := json.Unmarshal(raw, &list); err != nil || len(list.Sessions) != 2 || list.NextPageToken == nil {
			t.Fatalf("sessions = %s, %v; want two and nextPageToken", raw, err)
		}
		compact(t, "sessions", raw)
		for _, x := range list.Sessions {
			if x.Current != (x.DeviceID == u.Device) || (x.DeviceID == "phone") != (x.Platform == "ios") {
				t.Errorf("session %+v; want current on %s, ios on phone", x, u.Device)
			}
		}
		wants(t, "logout", s.ok(t, phone, "POST", "/auth/logout", nil, nil).raw, `{"$only":true}`)
		s.fails(t, phone, "GET", "/users/me", nil, 401, "SESSION_ENDED")
		s.fails(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": phone.Refresh}, 401, "SESSION_ENDED")
		s.fails(t, u, "DELETE", "/auth/sessions/nothing", nil, 404, "NOT_FOUND")
		for _, x := range list.Sessions {
			if x.Current {
				wants(t, "revokeSession", s.ok(t, u, "DELETE", "/auth/sessions/"+x.SessionID, nil, nil).raw, `{"$only":true}`)
			}
		}
		s.fails(t, u, "GET", "/users/me", nil, 401, "SESSION_ENDED")
	})
	t.Run("change password", func(t *testing.T) {
		u := s.user("pass1")
		phone := s.device(t, u, "phone", "ios")
		s.fails(t, u, "POST", "/auth/password", client.Object{"oldPassword": "not that one", "newPassword": "a new one!"}, 401, "BAD_CREDENTIALS")
		s.fails(t, u, "POST", "/auth/password", client.Object{"oldPassword": u.Password, "newPassword": "short"}, 400, "INVALID_FIELD")
		wants(t, "changePassword", s.ok(t, u, "POST", "/auth/password", client.Object{"oldPassword": u.Password, "newPassword": "a new one!"}, nil).raw, `{"$only":true}`)
		s.fails(t, phone, "GET", "/users/me", nil, 401, "SESSION_ENDED")
		s.ok(t, u, "GET", "/users/me", nil, nil)
		s.fails(t, nil, "POST", "/auth/login", loginBody(u), 401, "BAD_CREDENTIALS")
		u.Password = "a new one!"
		s.ok(t, nil, "POST", "/auth/login", loginBody(u), nil)
	})
	t.Run("logging in again from the same device ends the session", func(t *testing.T) {
		u := s.user("again1")
		old := *u
		w, _ := s.line(t, u, "")
		if err := u.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		if code := w.closed(t); code != 4002 {
			t.Errorf("closed with %d; want 4002", code)
		}
		s.fails(t, &old, "GET", "/users/me", nil, 401, "SESSION_ENDED")
		s.fails(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": old.Refresh}, 401, "SESSION_ENDED")
	})
	t.Run("jwks", func(t *testing.T) {
		var got struct{ Keys []map[string]any }
		s.ok(t, nil, "GET", "/.well-known/jwks.json", nil, &got)
		if len(got.Keys) == 0 || got.Keys[0]["kid"] == nil || got.Keys[0]["kty"] == nil || got.Keys[0]["d"] != nil {
			t.Errorf("keys = %v; want public keys with kid", got.Keys)
		}
	})
}

type tokens struct{ AccessToken, RefreshToken string }

func (s *server) refresh(t *testing.T, token string) tokens {
	t.Helper()
	var got tokens
	s.ok(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": token}, &got)
	return got
}

// AUTH-3: a refresh token works once.
func TestContractRefresh(t *testing.T) {
	s := startContract(t)
	t.Run("as login", func(t *testing.T) {
		u := s.user("ann")
		wants(t, "refresh", s.ok(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": u.Refresh}, nil).raw,
			`{"accessToken":"$text","refreshToken":"$text","expiresIn":600,"user":`+userShape+`,"$only":true}`)
		s.ok(t, u, "GET", "/users/me", nil, nil) // the older access token lives on until it expires
	})
	t.Run("the one before gives the same new pair", func(t *testing.T) {
		u := s.user("bob")
		first := s.refresh(t, u.Refresh)
		if again := s.refresh(t, u.Refresh); again != first {
			t.Errorf("again = %+v; want the same pair %+v", again, first)
		}
		if first.RefreshToken == u.Refresh {
			t.Error("the refresh token did not change")
		}
		second := s.refresh(t, first.RefreshToken)
		if second.RefreshToken == first.RefreshToken {
			t.Error("the refresh token did not change the second time")
		}
	})
	t.Run("two at once", func(t *testing.T) {
		u := s.user("cid")
		var got [4]tokens
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				a := s.rest(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": u.Refresh})
				if a.status != 200 {
					t.Errorf("refresh at once with others = %d %s; want 200", a.status, a.raw)
				}
				_ = json.Unmarshal(a.raw, &got[i])
			})
		}
		wg.Wait()
		for _, g := range got[1:] {
			if g != got[0] {
				t.Errorf("two at once got %+v and %+v; want the same pair", got[0], g)
			}
		}
		u.Token = got[0].AccessToken
		s.ok(t, u, "GET", "/users/me", nil, nil)
	})
	t.Run("an older one ends the session", func(t *testing.T) {
		u := s.user("dan")
		w, _ := s.line(t, u, "")
		second := s.refresh(t, s.refresh(t, u.Refresh).RefreshToken)
		s.fails(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": u.Refresh}, 401, "REFRESH_REUSED")
		s.fails(t, u, "GET", "/users/me", nil, 401, "SESSION_ENDED")
		u.Token = second.AccessToken
		s.fails(t, u, "GET", "/users/me", nil, 401, "SESSION_ENDED")
		s.fails(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": second.RefreshToken}, 401, "SESSION_ENDED")
		if code := w.closed(t); code != 4002 {
			t.Errorf("the session's connection closed with %d; want 4002", code)
		}
	})
	t.Run("an older one within the grace of the one before", func(t *testing.T) {
		u := s.user("eve")
		first := s.refresh(t, u.Refresh)
		s.refresh(t, first.RefreshToken)
		s.fails(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": u.Refresh}, 401, "REFRESH_REUSED")
	})
	t.Run("an access token is none", func(t *testing.T) {
		u := s.user("gil")
		s.fails(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": u.Token}, 401, "TOKEN_INVALID")
		d := *u
		d.Token = u.Refresh
		s.fails(t, &d, "GET", "/users/me", nil, 401, "TOKEN_INVALID")
	})
	t.Run("a connection lives beyond its access token", func(t *testing.T) {
		u := s.user("hal")
		w, _ := s.line(t, u, "")
		s.refresh(t, u.Refresh)
		w.settled(t)
	})
}

// The time in which the token before is taken again has an end.
func TestContractRefreshTooLate(t *testing.T) {
	s := startContract(t, "--auth-refresh-grace", "1s")
	u := s.user("ann")
	s.refresh(t, u.Refresh)
	<-within(t, 2*time.Second).Done()
	s.fails(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": u.Refresh}, 401, "REFRESH_REUSED")
	s.fails(t, u, "GET", "/users/me", nil, 401, "SESSION_ENDED")
}

// USER rows: profile, settings, search.
func TestContractUsers(t *testing.T) {
	s := startContract(t)
	ann, bob, cid := s.user("ann"), s.user("bob"), s.user("cid")
	me := func(nick, avatar, bio string) string {
		return `{"user":{"userId":"` + ann.ID + `","username":"ann","nickname":"` + nick + `","avatar":"` + avatar + `","bio":"` + bio + `","$only":true},"$only":true}`
	}
	t.Run("profile", func(t *testing.T) {
		for _, tt := range []struct{ name, body, want string }{
			{"nothing", `{}`, me("ANN", "", "")},
			{"one field", `{"bio":"I"}`, me("ANN", "", "I")},
			{"two others", `{"nickname":"Ann","avatar":"https://a.example/a.png"}`, me("Ann", "https://a.example/a.png", "I")},
			{"null clears", `{"bio":null,"avatar":null}`, me("Ann", "", "")},
			{"the username stays", `{"username":"zed"}`, me("Ann", "", "")},
		} {
			t.Run(tt.name, func(t *testing.T) {
				wants(t, "updateMe", s.ok(t, ann, "PATCH", "/users/me", tt.body, nil).raw, tt.want)
				wants(t, "getMe", s.ok(t, ann, "GET", "/users/me", nil, nil).raw, tt.want)
				wants(t, "get", s.ok(t, bob, "GET", "/users/"+ann.ID, nil, nil).raw, tt.want)
			})
		}
		s.fails(t, ann, "GET", "/users/nobody", nil, 404, "NOT_FOUND")
		s.fails(t, ann, "GET", "/users/a~b", nil, 400, "INVALID_FIELD")
	})
	settings := func(find, add, write, seen, preview string) string {
		return `{"settings":{"whoMayFind":"` + find + `","whoMayAdd":"` + add + `","whoMayWrite":"` + write + `","lastSeen":"` + seen + `","pushPreview":"` + preview + `","$only":true},"$only":true}`
	}
	t.Run("settings", func(t *testing.T) {
		for _, tt := range []struct{ name, body, want string }{
			{"defaults", `{}`, settings("everyone", "everyone", "everyone", "friends", "all")},
			{"one", `{"whoMayWrite":"friends"}`, settings("everyone", "everyone", "friends", "friends", "all")},
			{"others", `{"pushPreview":"none","lastSeen":"nobody"}`, settings("everyone", "everyone", "friends", "nobody", "none")},
			{"back", `{"whoMayWrite":"everyone","pushPreview":"all","lastSeen":"friends"}`, settings("everyone", "everyone", "everyone", "friends", "all")},
		} {
			t.Run(tt.name, func(t *testing.T) {
				wants(t, "updateSettings", s.ok(t, ann, "PATCH", "/users/me/settings", tt.body, nil).raw, tt.want)
				wants(t, "getSettings", s.ok(t, ann, "GET", "/users/me/settings", nil, nil).raw, tt.want)
			})
		}
		s.fails(t, ann, "PATCH", "/users/me/settings", `{"whoMayWrite":"martians"}`, 400, "INVALID_FIELD")
		s.fails(t, ann, "PATCH", "/users/me/settings", `{"whoMayWrite":1}`, 400, "INVALID_FIELD")
		// null clears: the setting is at its default again.
		s.ok(t, ann, "PATCH", "/users/me/settings", `{"whoMayWrite":"friends"}`, nil)
		wants(t, "cleared", s.ok(t, ann, "PATCH", "/users/me/settings", `{"whoMayWrite":null}`, nil).raw, settings("everyone", "everyone", "everyone", "friends", "all"))
	})
	t.Run("search", func(t *testing.T) {
		s.ok(t, cid, "PATCH", "/users/me", `{"nickname":"Big Cid"}`, nil)
		found := func(query string) string {
			var got struct{ Users []struct{ Username string } }
			raw := s.ok(t, ann, "GET", "/users?query="+url.QueryEscape(query), nil, &got).raw
			wants(t, "search", raw, `{"nextPageToken":"$any"}`)
			var names []string
			for _, u := range got.Users {
				names = append(names, u.Username)
			}
			return strings.Join(names, ",")
		}
		for _, tt := range []struct{ query, want string }{
			{"bob", "bob"}, {bob.ID, "bob"}, {"bo", ""}, {"Big Cid", "cid"}, {"nobody at all", ""}, {"cid", "cid"},
		} {
			if got := found(tt.query); got != tt.want {
				t.Errorf("search %q = %q; want %q", tt.query, got, tt.want)
			}
		}
		wants(t, "none found", s.ok(t, ann, "GET", "/users?query=nobodyhere", nil, nil).raw, `{"users":[],"nextPageToken":"","$only":true}`)
		s.fails(t, ann, "GET", "/users", nil, 400, "INVALID_FIELD")
		s.ok(t, cid, "PATCH", "/users/me/settings", `{"whoMayFind":"friends"}`, nil)
		if got := found("Big Cid"); got != "" {
			t.Errorf("search by the nickname of one whom only friends may find = %q; want nobody", got)
		}
		for _, exact := range []string{"cid", cid.ID} {
			if got := found(exact); got != "cid" {
				t.Errorf("search for %q, whose nickname only friends may find = %q; want cid", exact, got)
			}
		}
		s.ok(t, ann, "GET", "/users/"+cid.ID, nil, nil)
		s.ok(t, cid, "POST", "/users/me/friend-requests", client.Object{"userId": ann.ID}, nil)
		s.ok(t, ann, "POST", "/users/me/friend-requests/"+cid.ID+"/accept", nil, nil)
		for _, query := range []string{"big cid", "cid"} {
			if got := found(query); got != "cid" {
				t.Errorf("search of a friend for %q = %q; want cid", query, got)
			}
		}
	})
}

// FRIENDS: requests, the address book, the inboxes.
func TestContractFriends(t *testing.T) {
	s := startContract(t)
	ann, bob, cid, dan := s.user("ann"), s.user("bob"), s.user("cid"), s.user("dan")
	requests := func(u *client.User, direction string) []byte {
		return s.ok(t, u, "GET", "/users/me/friend-requests?direction="+direction, nil, nil).raw
	}
	const none = `{"requests":[],"nextPageToken":"","$only":true}`
	request := func(of *client.User, text string) string {
		return `{"requests":[{"user":{"userId":"` + of.ID + `","username":"` + of.Username + `","nickname":"$text","avatar":"","bio":"","$only":true},"message":"` + text + `","createdAt":"$time"}],"nextPageToken":"","$only":true}`
	}
	inbox := func(u *client.User) string {
		return string(s.ok(t, u, "GET", "/conversations/i~"+u.ID+"/messages", nil, nil).raw)
	}
	line, _ := s.line(t, bob, "")
	t.Run("request", func(t *testing.T) {
		wants(t, "requestFriend", s.ok(t, ann, "POST", "/users/me/friend-requests", client.Object{"userId": bob.ID, "message": "It's Ann"}, nil).raw, `{"$only":true}`)
		wants(t, "incoming", requests(bob, "incoming"), request(ann, "It's Ann"))
		wants(t, "outgoing", requests(ann, "outgoing"), request(bob, "It's Ann"))
		wants(t, "the other way", requests(ann, "incoming"), none)
		wants(t, "the other way", requests(bob, "outgoing"), none)
		wants(t, "friends before acceptance", s.ok(t, ann, "GET", "/users/me/friends", nil, nil).raw, `{"friends":[],"nextPageToken":"","$only":true}`)
		f := line.await(t, `"method":"entry"`, `"friendRequest"`)
		wants(t, "the push", []byte(f), `{"jsonrpc":"2.0","method":"entry","params":{"n":1,"entry":{"conversationId":"i~`+bob.ID+`","seq":1,"ordinal":1,"messageId":"$id","clientMsgId":"$any","kind":"friendRequest","senderId":"$any","sentAt":"$time","friendRequest":{"userId":"`+ann.ID+`","message":"It's Ann"},"replyTo":null,"editedAt":null,"recalled":false,"reactions":[],"$only":true},"$only":true},"$only":true}`)
	})
	t.Run("refused", func(t *testing.T) {
		s.fails(t, ann, "POST", "/users/me/friend-requests", client.Object{"userId": ann.ID}, 400, "INVALID_FIELD")
		s.fails(t, ann, "POST", "/users/me/friend-requests", client.Object{"userId": "nobody"}, 404, "NOT_FOUND")
		s.fails(t, ann, "POST", "/users/me/friend-requests", client.Object{}, 400, "INVALID_FIELD")
		s.fails(t, ann, "POST", "/users/me/friend-requests/"+bob.ID+"/accept", nil, 404, "NOT_FOUND") // one's own request
		s.fails(t, ann, "GET", "/users/me/friend-requests?direction=sideways", nil, 400, "INVALID_FIELD")
	})
	t.Run("accept", func(t *testing.T) {
		wants(t, "acceptFriend", s.ok(t, bob, "POST", "/users/me/friend-requests/"+ann.ID+"/accept", nil, nil).raw, `{}`)
		wants(t, "incoming afterwards", requests(bob, "incoming"), none)
		wants(t, "outgoing afterwards", requests(ann, "outgoing"), none)
		for _, tt := range []struct{ me, other *client.User }{{ann, bob}, {bob, ann}} {
			wants(t, "friends", s.ok(t, tt.me, "GET", "/users/me/friends", nil, nil).raw,
				`{"friends":[{"user":{"userId":"`+tt.other.ID+`","username":"`+tt.other.Username+`","nickname":"$text","avatar":"","bio":"","$only":true},"remark":"","tags":[],"starred":false,"since":"$time"}],"nextPageToken":"","$only":true}`)
			eventually(t, "friendAdded in the inbox of "+tt.me.Username, func() bool {
				return strings.Contains(inbox(tt.me), `"kind":"friendAdded"`)
			})
			if in := inbox(tt.me); !strings.Contains(in, `"friendAdded":{"userId":"`+tt.other.ID+`"`) {
				t.Errorf("inbox of %s = %s; want friendAdded of %s", tt.me.Username, in, tt.other.Username)
			}
		}
		// "nothing to the direct chat". That an empty one can be got is the server's choice; the list has only inboxes.
		if a := s.rest(t, ann, "GET", "/conversations/"+direct(ann, bob), nil); a.status != 404 {
			wants(t, "the direct chat", a.raw, `{"conversation":{"head":{"seq":0,"ordinal":0},"unread":0,"lastEntry":null}}`)
		}
		wants(t, "conversations", s.ok(t, ann, "GET", "/conversations", nil, nil).raw, `{"conversations":[{"conversationId":"i~`+ann.ID+`"}]}`)
		// A repetition has no second effect; the next test counts bob's inbox.
		s.ok(t, bob, "POST", "/users/me/friend-requests/"+ann.ID+"/accept", nil, nil)
	})
	t.Run("the inbox as a conversation", func(t *testing.T) {
		wants(t, "inbox of bob", s.conversation(t, bob, "i~"+bob.ID), `{"conversationId":"i~`+bob.ID+`","kind":"inbox","title":"$any","avatar":"","peer":null,"minSeq":1,"maxSeq":null,
			"head":{"seq":2,"ordinal":2,"sentAt":"$time"},"read":{"seq":0,"ordinal":0},"peerReadSeq":0,"unread":2,"mentionSeq":0,"pinned":false,"mutedUntil":null,"draft":null,"hidden":false,
			"lastEntry":{"kind":"friendAdded","seq":2,"ordinal":2,"friendAdded":{"userId":"`+ann.ID+`"}},"$only":true}`)
		s.fails(t, ann, "GET", "/conversations/i~"+bob.ID, nil, 404, "NOT_FOUND")
		wants(t, "read", s.ok(t, bob, "POST", "/conversations/i~"+bob.ID+"/read", `{"seq":1}`, nil).raw, `{"read":{"seq":1,"ordinal":1},"unread":1}`)
	})
	t.Run("address book", func(t *testing.T) {
		path := "/users/me/friends/" + bob.ID
		for _, tt := range []struct{ name, body, want string }{
			{"remark", `{"remark":"Bobby"}`, `{"remark":"Bobby","tags":[],"starred":false}`},
			{"tags", `{"tags":["work","sea"]}`, `{"remark":"Bobby","tags":["work","sea"],"starred":false}`},
			{"starred", `{"starred":true}`, `{"remark":"Bobby","tags":["work","sea"],"starred":true}`},
			{"null clears one", `{"remark":null}`, `{"remark":"","tags":["work","sea"],"starred":true}`},
			{"null clears all", `{"tags":null,"starred":null}`, `{"remark":"","tags":[],"starred":false}`},
			{"nothing", `{}`, `{"remark":"","tags":[],"starred":false}`},
		} {
			t.Run(tt.name, func(t *testing.T) {
				wants(t, "updateFriend", s.ok(t, ann, "PATCH", path, tt.body, nil).raw, `{"friend":`+tt.want+`}`)
				wants(t, "listFriends", s.ok(t, ann, "GET", "/users/me/friends", nil, nil).raw, `{"friends":[`+tt.want+`]}`)
			})
		}
		wants(t, "the other's book", s.ok(t, bob, "GET", "/users/me/friends", nil, nil).raw, `{"friends":[{"remark":"","starred":false}]}`)
		s.fails(t, ann, "PATCH", "/users/me/friends/"+cid.ID, `{"remark":"x"}`, 404, "NOT_FOUND")
	})
	t.Run("decline", func(t *testing.T) {
		s.ok(t, cid, "POST", "/users/me/friend-requests", client.Object{"userId": bob.ID, "message": ""}, nil)
		wants(t, "declineFriend", s.ok(t, bob, "POST", "/users/me/friend-requests/"+cid.ID+"/decline", nil, nil).raw, `{}`)
		wants(t, "incoming afterwards", requests(bob, "incoming"), none)
		wants(t, "friends afterwards", s.ok(t, cid, "GET", "/users/me/friends", nil, nil).raw, `{"friends":[]}`)
		s.fails(t, bob, "POST", "/users/me/friend-requests/"+cid.ID+"/accept", nil, 404, "NOT_FOUND")
	})
	t.Run("remove", func(t *testing.T) {
		wants(t, "removeFriend", s.ok(t, ann, "DELETE", "/users/me/friends/"+bob.ID, nil, nil).raw, `{"$only":true}`)
		for _, u := range []*client.User{ann, bob} {
			wants(t, "friends of "+u.Username, s.ok(t, u, "GET", "/users/me/friends", nil, nil).raw, `{"friends":[]}`)
		}
	})
	t.Run("who may add", func(t *testing.T) {
		for _, who := range []string{"friends", "nobody"} {
			s.ok(t, dan, "PATCH", "/users/me/settings", `{"whoMayAdd":"`+who+`"}`, nil)
			s.fails(t, ann, "POST", "/users/me/friend-requests", client.Object{"userId": dan.ID}, 403, "NOT_ALLOWED")
		}
	})
	t.Run("pages", func(t *testing.T) {
		hub := s.user("hub")
		for _, u := range []*client.User{ann, bob, cid} {
			s.ok(t, u, "POST", "/users/me/friend-requests", client.Object{"userId": hub.ID, "message": "hi"}, nil)
			s.ok(t, hub, "POST", "/users/me/friend-requests/"+u.ID+"/accept", nil, nil)
		}
		seen := map[string]bool{}
		token := ""
		for range 3 {
			var got struct {
				Friends       []struct{ User struct{ UserID string } }
				NextPageToken string
			}
			s.ok(t, hub, "GET", "/users/me/friends?pageSize=2&pageToken="+url.QueryEscape(token), nil, &got)
			for _, f := range got.Friends {
				seen[f.User.UserID] = true
			}
			if token = got.NextPageToken; token == "" {
				break
			}
		}
		if len(seen) != 3 || token != "" {
			t.Errorf("two pages of two hold %d friends, token %q; want 3 and the end", len(seen), token)
		}
		s.ok(t, hub, "GET", "/users/me/friends?pageSize=1000", nil, nil)
	})
}

// BLOCKS and friends-only.
func TestContractBlocks(t *testing.T) {
	s := startContract(t)
	ann, bob, cid := s.user("ann"), s.user("bob"), s.user("cid")
	text := func(to *client.User, id string) client.Object {
		return client.Object{"clientMsgId": id, "toUserId": to.ID, "text": client.Object{"text": "x"}}
	}
	s.say(t, ann, "toUserId", bob.ID, "before")
	line, _ := s.line(t, bob, "")
	wants(t, "block", s.ok(t, ann, "PUT", "/users/me/blocks/"+bob.ID, nil, nil).raw, `{"$only":true}`)
	s.ok(t, ann, "PUT", "/users/me/blocks/"+bob.ID, nil, nil) // twice is once
	wants(t, "listBlocks", s.ok(t, ann, "GET", "/users/me/blocks", nil, nil).raw, `{"users":[{"userId":"`+bob.ID+`","username":"bob"}],"nextPageToken":"","$only":true}`)
	wants(t, "the other's blocks", s.ok(t, bob, "GET", "/users/me/blocks", nil, nil).raw, `{"users":[],"nextPageToken":"","$only":true}`)
	s.fails(t, bob, "POST", "/messages", text(ann, "b1"), 403, "NOT_ALLOWED")
	s.fails(t, bob, "POST", "/conversations/"+direct(ann, bob)+"/messages", client.Object{"clientMsgId": "b2", "text": client.Object{"text": "x"}}, 403, "NOT_ALLOWED")
	refused(t, line.call(t, "message.send", text(ann, "b3")), "NOT_ALLOWED")
	s.ok(t, bob, "GET", "/users/"+ann.ID, nil, nil) // not told
	s.ok(t, bob, "GET", "/conversations/"+direct(ann, bob)+"/messages", nil, nil)
	line.settled(t)
	for _, f := range line.all() { // what was said before may still arrive
		if strings.Contains(f, `"method"`) && !strings.Contains(f, `"before"`) {
			t.Errorf("the blocked one got %s; want to be told nothing", f)
		}
	}
	typing, _ := s.line(t, ann, "")
	line.call(t, "message.typing", client.Object{"conversationId": direct(ann, bob)})
	line.settled(t)
	typing.settled(t)
	if typing.count(`"typing"`) != 0 {
		t.Error("the blocked one's typing was shown")
	}
	s.fails(t, ann, "PUT", "/users/me/blocks/nobody", nil, 404, "NOT_FOUND")
	s.fails(t, ann, "PUT", "/users/me/blocks/"+ann.ID, nil, 400, "INVALID_FIELD")
	wants(t, "unblock", s.ok(t, ann, "DELETE", "/users/me/blocks/"+bob.ID, nil, nil).raw, `{"$only":true}`)
	s.ok(t, bob, "POST", "/messages", text(ann, "b1"), nil)

	s.ok(t, cid, "PATCH", "/users/me/settings", `{"whoMayWrite":"friends"}`, nil)
	s.fails(t, ann, "POST", "/messages", text(cid, "f1"), 403, "NOT_ALLOWED")
	s.ok(t, ann, "POST", "/users/me/friend-requests", client.Object{"userId": cid.ID}, nil)
	s.ok(t, cid, "POST", "/users/me/friend-requests/"+ann.ID+"/accept", nil, nil)
	s.ok(t, ann, "POST", "/messages", text(cid, "f2"), nil)
	s.ok(t, cid, "DELETE", "/users/me/friends/"+ann.ID, nil, nil)
	s.fails(t, ann, "POST", "/messages", text(cid, "f3"), 403, "NOT_ALLOWED")
}

// PRESENCE and push registration.
func TestContractPresence(t *testing.T) {
	s := startContract(t)
	ann, bob, cid, eve := s.user("ann"), s.user("bob"), s.user("cid"), s.user("eve")
	s.ok(t, ann, "POST", "/users/me/friend-requests", client.Object{"userId": bob.ID}, nil)
	s.ok(t, bob, "POST", "/users/me/friend-requests/"+ann.ID+"/accept", nil, nil)
	s.group(t, ann, cid)
	get := func(u *client.User, ids string) []byte {
		return s.ok(t, u, "GET", "/presence?userIds="+ids, nil, nil).raw
	}
	t.Run("off line, never seen", func(t *testing.T) {
		wants(t, "presence", get(ann, bob.ID), `{"presences":[{"userId":"`+bob.ID+`","status":"offline","lastSeenAt":null,"$only":true}],"$only":true}`)
	})
	b, _ := s.line(t, bob, "")
	c, _ := s.line(t, cid, "")
	t.Run("on line", func(t *testing.T) {
		wants(t, "a friend", get(ann, bob.ID), `{"presences":[{"userId":"`+bob.ID+`","status":"online"}]}`)
		wants(t, "a fellow member", get(ann, cid.ID), `{"presences":[{"userId":"`+cid.ID+`","status":"online"}]}`)
		wants(t, "both, in the order asked", get(ann, cid.ID+","+bob.ID), `{"presences":[{"userId":"`+cid.ID+`"},{"userId":"`+bob.ID+`"}]}`)
	})
	t.Run("strangers", func(t *testing.T) {
		stranger, nobody := string(get(eve, bob.ID)), string(get(eve, "nobody00"))
		if strings.Contains(stranger, "online") {
			t.Errorf("a stranger asks = %s; want friends and fellow members only", stranger)
		}
		if strings.ReplaceAll(stranger, bob.ID, "X") != strings.ReplaceAll(nobody, "nobody00", "X") {
			t.Errorf("of a stranger %s, of nobody %s; want the same", stranger, nobody)
		}
	})
	t.Run("bounds", func(t *testing.T) {
		ids := strings.Repeat("u1,", 499) + "u2"
		s.ok(t, ann, "GET", "/presence?userIds="+ids, nil, nil)
		s.fails(t, ann, "GET", "/presence?userIds="+ids+",u3", nil, 400, "INVALID_FIELD")
		s.fails(t, ann, "GET", "/presence?userIds=a~b", nil, 400, "INVALID_FIELD")
	})
	t.Run("last seen", func(t *testing.T) {
		_, _ = b.conn.Close(), c.conn.Close()
		eventually(t, "bob is off line with his time", func() bool {
			return strings.Contains(string(get(ann, bob.ID)), `"status":"offline","lastSeenAt":"`)
		})
		eventually(t, "cid is off line", func() bool { return strings.Contains(string(get(ann, cid.ID)), `"status":"offline"`) })
		// Settings: last seen for friends by default, and cid is none.
		wants(t, "a fellow member", get(ann, cid.ID), `{"presences":[{"userId":"`+cid.ID+`","status":"offline","lastSeenAt":null}]}`)
		s.ok(t, bob, "PATCH", "/users/me/settings", `{"lastSeen":"nobody"}`, nil)
		wants(t, "a friend who hides it", get(ann, bob.ID), `{"presences":[{"userId":"`+bob.ID+`","status":"offline","lastSeenAt":null}]}`)
		s.ok(t, cid, "PATCH", "/users/me/settings", `{"lastSeen":"everyone"}`, nil)
		wants(t, "a fellow member who shows it", get(ann, cid.ID), `{"presences":[{"userId":"`+cid.ID+`","status":"offline","lastSeenAt":"$time"}]}`)
	})
	t.Run("push", func(t *testing.T) {
		path := "/devices/" + ann.Device + "/push"
		ok := client.Object{"provider": "fcm", "token": "t", "appId": "com.example", "environment": "production", "language": "en"}
		wants(t, "register", s.ok(t, ann, "PUT", path, ok, nil).raw, `{"$only":true}`)
		s.ok(t, ann, "PUT", path, ok, nil)
		// The keys are those of the example in RFC 8291.
		s.ok(t, ann, "PUT", path, client.Object{"provider": "webpush", "token": `{"endpoint":"https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV","expirationTime":null,` +
			`"keys":{"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`}, nil)
		for _, tt := range []struct {
			name, field string
			value       any
		}{
			{"unknown provider", "provider", "pigeon"},
			{"no provider", "provider", ""},
			{"no token", "token", ""},
			{"unknown environment", "environment", "moon"},
			{"a number", "token", 5},
			{"a token that is no subscription", "provider", "webpush"},
		} {
			body := client.Object{}
			maps.Copy(body, ok)
			body[tt.field] = tt.value
			t.Run(tt.name, func(t *testing.T) { s.fails(t, ann, "PUT", path, body, 400, "INVALID_FIELD") })
		}
		wants(t, "unregister", s.ok(t, ann, "DELETE", path, nil, nil).raw, `{"$only":true}`)
		if a := s.rest(t, ann, "DELETE", path, nil); a.status != http.StatusOK && a.status != http.StatusNotFound {
			t.Errorf("unregister twice = %d %s; want 200 or 404", a.status, a.raw)
		}
	})
}
