package system

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
)

// atOnce sends the same request n times at once and returns the answers.
func (s *server) atOnce(t *testing.T, n int, u *client.User, method, path string, body any) []answer {
	t.Helper()
	out := make([]answer, n)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { out[i] = s.rest(t, u, method, path, body) })
	}
	wg.Wait()
	return out
}

func statuses(answers []answer) map[int]int {
	out := map[int]int{}
	for _, a := range answers {
		out[a.status]++
	}
	return out
}

// The same request by several clients at once has the effect of one.
func TestContractAtOnce(t *testing.T) {
	s := startContract(t)
	ann, bob, cid := s.user("ann"), s.user("bob"), s.user("cid")
	const n = 8
	t.Run("register", func(t *testing.T) {
		got := statuses(s.atOnce(t, n, nil, "POST", "/auth/register", `{"username":"same","password":"12345678","nickname":"S"}`))
		if got[200] != 1 || got[409] != n-1 {
			t.Errorf("statuses = %v; want one 200, and 409 for the others", got)
		}
	})
	t.Run("send", func(t *testing.T) {
		for round := range 5 {
			body := client.Object{"clientMsgId": fmt.Sprint("same", round), "toUserId": bob.ID, "text": client.Object{"text": "x"}, "resend": round%2 == 1}
			answers := s.atOnce(t, n, ann, "POST", "/messages", body)
			for _, a := range answers {
				if a.status != 200 || string(a.raw) != string(answers[0].raw) {
					t.Errorf("one of %d sends under one id = %d %s; want %s", n, a.status, a.raw, answers[0].raw)
				}
			}
		}
		wants(t, "afterwards", s.conversation(t, bob, direct(ann, bob)), `{"head":{"seq":5,"ordinal":5},"unread":5}`)
	})
	t.Run("two texts under one id", func(t *testing.T) {
		var wg sync.WaitGroup
		var got [n]answer
		for i := range got {
			wg.Go(func() {
				got[i] = s.rest(t, ann, "POST", "/messages", client.Object{"clientMsgId": "two", "toUserId": bob.ID, "text": client.Object{"text": fmt.Sprint(i)}})
			})
		}
		wg.Wait()
		if c := statuses(got[:]); c[200] != 1 || c[409] != n-1 {
			t.Errorf("statuses = %v; want one 200, and CLIENT_MSG_ID_REUSED for the others", c)
		}
	})
	t.Run("friends", func(t *testing.T) {
		got := statuses(s.atOnce(t, n, ann, "POST", "/users/me/friend-requests", client.Object{"userId": bob.ID, "message": "x"}))
		if got[200] == 0 || got[500] > 0 || got[503] > 0 {
			t.Errorf("requests: statuses = %v; want no failure", got)
		}
		wants(t, "incoming", s.ok(t, bob, "GET", "/users/me/friend-requests?direction=incoming", nil, nil).raw, `{"requests":[{"message":"x"}]}`)
		got = statuses(s.atOnce(t, n, bob, "POST", "/users/me/friend-requests/"+ann.ID+"/accept", nil))
		if got[200] == 0 || got[500] > 0 || got[503] > 0 {
			t.Errorf("acceptances: statuses = %v; want no failure", got)
		}
		for _, u := range []*client.User{ann, bob} {
			var list struct{ Friends []any }
			s.ok(t, u, "GET", "/users/me/friends", nil, &list)
			kinds := map[string]int{}
			eventually(t, "friendAdded", func() bool {
				kinds = map[string]int{}
				for _, raw := range s.entriesFrom(t, u, "i~"+u.ID, 0) {
					var e client.Entry
					_ = json.Unmarshal(raw, &e)
					kinds[e.Kind]++
				}
				return kinds["friendAdded"] > 0
			})
			if len(list.Friends) != 1 || kinds["friendAdded"] != 1 || kinds["friendRequest"] > 1 {
				t.Errorf("%s has %d friends and the inbox %v; want one friend, added once", u.Username, len(list.Friends), kinds)
			}
		}
	})
	t.Run("requests that cross", func(t *testing.T) {
		dan, eve := s.user("dan"), s.user("eve")
		var wg sync.WaitGroup
		for _, p := range [][2]*client.User{{dan, eve}, {eve, dan}} {
			wg.Go(func() {
				if a := s.rest(t, p[0], "POST", "/users/me/friend-requests", client.Object{"userId": p[1].ID}); a.status != 200 {
					t.Errorf("request of %s = %d %s; want 200", p[0].Username, a.status, a.raw)
				}
			})
		}
		wg.Wait()
	})
	t.Run("group members", func(t *testing.T) {
		id := s.group(t, ann, bob)
		got := statuses(s.atOnce(t, n, ann, "POST", "/groups/"+id+"/members", client.Object{"userIds": []string{cid.ID}}))
		if got[200] != n {
			t.Errorf("addMembers at once: statuses = %v; want 200", got)
		}
		if e := s.entriesFrom(t, ann, "g~"+id, 1); len(e) != 1 {
			t.Errorf("adding one member %d times at once appended %s; want one notice", n, e)
		}
		s.atOnce(t, n, cid, "DELETE", "/groups/"+id+"/members/me", nil)
		if e := s.entriesFrom(t, ann, "g~"+id, 2); len(e) != 1 {
			t.Errorf("leaving %d times at once appended %s; want one notice", n, e)
		}
		wants(t, "members", s.ok(t, ann, "GET", "/groups/"+id, nil, nil).raw, `{"group":{"memberCount":2}}`)
	})
	t.Run("reading", func(t *testing.T) {
		var wg sync.WaitGroup
		for seq := range 6 {
			wg.Go(func() {
				s.ok(t, bob, "POST", "/conversations/"+direct(ann, bob)+"/read", client.Object{"seq": seq}, nil)
			})
		}
		wg.Wait()
		wants(t, "afterwards", s.conversation(t, bob, direct(ann, bob)), `{"read":{"seq":5,"ordinal":5},"unread":1}`)
	})
	t.Run("writing and removing", func(t *testing.T) {
		// "A send numbered before the removal stands", and none after it.
		for range 5 {
			id := s.group(t, ann, bob, cid)
			var wg sync.WaitGroup
			var sends [20]answer
			wg.Go(func() { s.ok(t, ann, "DELETE", "/groups/"+id+"/members/"+bob.ID, nil, nil) })
			wg.Go(func() {
				for i := range sends {
					sends[i] = s.rest(t, bob, "POST", "/messages", client.Object{"clientMsgId": fmt.Sprint("w", i), "groupId": id, "text": client.Object{"text": "x"}})
				}
			})
			wg.Wait()
			var conv struct{ MaxSeq uint64 }
			_ = json.Unmarshal(s.conversation(t, bob, "g~"+id), &conv)
			for _, a := range sends {
				var got sent
				_ = json.Unmarshal(a.raw, &got)
				if a.status == 200 && got.Seq > conv.MaxSeq || a.status != 200 && a.status != 403 {
					t.Errorf("a send beside the removal at %d = %d %s; want a smaller seq or NOT_MEMBER", conv.MaxSeq, a.status, a.raw)
				}
			}
		}
	})
	t.Run("connecting", func(t *testing.T) {
		var lines [4]*rawConn
		for i := range lines {
			lines[i] = dial(t, s)
		}
		for _, w := range lines {
			w.send(`{"jsonrpc":"2.0","id":1,"method":"connect","params":` + show(connectParams(cid, "")) + `}`)
		}
		eventually(t, "one connection is left", func() bool {
			left := 0
			for _, w := range lines {
				if open(w) {
					left++
				}
			}
			return left == 1
		})
		for _, w := range lines {
			if !open(w) {
				if code := w.closed(t); code != 4003 {
					t.Errorf("one of four of the same device closed with %d; want 4003", code)
				}
				continue
			}
			s.say(t, ann, "toUserId", cid.ID, "who is left?")
			w.await(t, "who is left?")
		}
	})
}

// For a client without acks the server pings within 2 s of a push, and the answer acknowledges.
func TestContractPingForAcks(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	w := dial(t, s)
	p := connectParams(bob, "")
	delete(p, "acks")
	w.call(t, "connect", p)
	s.say(t, ann, "toUserId", bob.ID, "hi")
	w.await(t, `"method":"entry"`)
	eventually(t, "a ping of the server", func() bool { return w.pinged() > 0 })
}
