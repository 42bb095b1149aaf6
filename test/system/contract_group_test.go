package system

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
)

func groupShape(id, owner string, members int, role string) string {
	return fmt.Sprintf(`{"groupId":"%s","name":"$text","avatar":"","description":"$any","announcement":"","ownerId":"%s","memberCount":%d,"joinMode":"invite","historyVisibility":"sinceJoin","muteAll":false,"role":"%s","createdAt":"$time","$only":true}`, id, owner, members, role)
}

// noticeShape is a notice of a group with the whole entry around it. userIDs is a JSON list.
func noticeShape(conversation string, seq, ordinal int, kind, actor, userIDs string) string {
	return fmt.Sprintf(`{"conversationId":"%s","seq":%d,"ordinal":%d,"messageId":"$id","clientMsgId":"$any","kind":"notice","senderId":"$any","sentAt":"$time","notice":{"type":"%s","actorId":"%s","userIds":%s,"name":"$any","$only":true},"replyTo":null,"editedAt":null,"recalled":false,"reactions":[],"$only":true}`,
		conversation, seq, ordinal, kind, actor, userIDs)
}

func quoted(users ...*client.User) string {
	ids := []string{}
	for _, u := range users {
		ids = append(ids, u.ID)
	}
	return show(ids)
}

// seqs returns the seqs that u sees from the start, as text.
func (s *server) seqs(t *testing.T, u *client.User, conversation string) string {
	t.Helper()
	var p page
	s.ok(t, u, "GET", "/conversations/"+conversation+"/messages?afterSeq=0&limit=100", nil, &p)
	return p.String()
}

// entriesFrom returns the raw log as u sees it after a seq.
func (s *server) entriesFrom(t *testing.T, u *client.User, conversation string, after int) []json.RawMessage {
	t.Helper()
	var p struct{ Entries []json.RawMessage }
	s.ok(t, u, "GET", fmt.Sprintf("/conversations/%s/entries?afterSeq=%d&limit=100", conversation, after), nil, &p)
	return p.Entries
}

// GROUP rows: a group from its creation to its end.
func TestContractGroup(t *testing.T) {
	s := startContract(t)
	ann, bob, cid, dan, eve := s.user("ann"), s.user("bob"), s.user("cid"), s.user("dan"), s.user("eve")
	s.ok(t, dan, "PUT", "/users/me/blocks/"+ann.ID, nil, nil)
	var made struct{ Group struct{ GroupID string } }
	raw := s.ok(t, ann, "POST", "/groups", client.Object{"name": "Team", "memberIds": []string{bob.ID, bob.ID, ann.ID, dan.ID}}, &made).raw
	id := made.Group.GroupID
	conv, path := "g~"+id, "/groups/"+id
	seq := 1 // of the newest entry
	// next checks that exactly one entry came, and which.
	next := func(kind string, actor *client.User, ordinal int, users ...*client.User) {
		t.Helper()
		entries := s.entriesFrom(t, ann, conv, seq)
		if len(entries) != 1 {
			t.Fatalf("after seq %d came %s; want one %s", seq, entries, kind)
		}
		seq++
		wants(t, kind, entries[0], noticeShape(conv, seq, ordinal, kind, actor.ID, quoted(users...)))
	}
	t.Run("create", func(t *testing.T) {
		wants(t, "create: dan blocked the creator, bob counts once", raw, `{"group":`+groupShape(id, ann.ID, 2, "owner")+`,"$only":true}`)
		entries := s.entriesFrom(t, bob, conv, 0)
		if len(entries) != 1 {
			t.Fatalf("a new group's log = %s; want one entry", entries)
		}
		wants(t, "groupCreated", entries[0], noticeShape(conv, 1, 0, "groupCreated", ann.ID, `"$any"`))
		var e client.Entry
		_ = json.Unmarshal(entries[0], &e)
		if got := strings.Join(e.Notice.UserIDs, " "); len(e.Notice.UserIDs) != 2 || !strings.Contains(got, ann.ID) || !strings.Contains(got, bob.ID) {
			t.Errorf("groupCreated names %q; want ann and bob, all first members", got)
		}
		wants(t, "get", s.ok(t, bob, "GET", path, nil, nil).raw, `{"group":`+groupShape(id, ann.ID, 2, "member")+`,"$only":true}`)
		for _, u := range []*client.User{dan, eve} {
			s.fails(t, u, "GET", path, nil, 404, "NOT_FOUND")
			s.fails(t, u, "GET", "/conversations/"+conv, nil, 404, "NOT_FOUND")
		}
		s.fails(t, ann, "POST", "/groups", client.Object{"name": "X", "memberIds": []string{bob.ID, "nobody"}}, 404, "NOT_FOUND")
		s.fails(t, ann, "POST", "/groups", client.Object{"name": "X", "memberIds": []string{"a b"}}, 400, "INVALID_FIELD")
		wants(t, "alone", s.ok(t, eve, "POST", "/groups", client.Object{"name": "Solo"}, nil).raw, `{"group":{"memberCount":1,"role":"owner"}}`)
	})
	t.Run("conversation", func(t *testing.T) {
		wants(t, "bob's", s.conversation(t, bob, conv), `{"conversationId":"`+conv+`","kind":"group","title":"Team","avatar":"","peer":null,"minSeq":1,"maxSeq":null,"head":{"seq":1,"ordinal":0,"sentAt":"$time","$only":true},
			"read":{"seq":"$num","ordinal":0,"$only":true},"peerReadSeq":0,"unread":0,"mentionSeq":0,"pinned":false,"mutedUntil":null,"draft":null,"hidden":false,"lastEntry":{"seq":1,"kind":"notice"},"$only":true}`)
	})
	t.Run("members", func(t *testing.T) {
		wants(t, "listMembers", s.ok(t, bob, "GET", path+"/members?pageSize=1", nil, nil).raw, `{"members":[{"user":{"userId":"$id","username":"$text"},"role":"$text","mutedUntil":null,"nickname":"","joinedAt":"$time","$only":true}],"nextPageToken":"$text","$only":true}`)
		var list struct {
			Members []struct {
				User struct{ UserID string }
				Role string
			}
			NextPageToken string
		}
		s.ok(t, bob, "GET", path+"/members", nil, &list)
		roles := map[string]string{}
		for _, m := range list.Members {
			roles[m.User.UserID] = m.Role
		}
		if len(list.Members) != 2 || roles[ann.ID] != "owner" || roles[bob.ID] != "member" || list.NextPageToken != "" {
			t.Errorf("members = %+v; want ann the owner and bob", list)
		}
		s.fails(t, eve, "GET", path+"/members", nil, 404, "NOT_FOUND")
	})
	t.Run("update", func(t *testing.T) {
		s.fails(t, bob, "PATCH", path, `{"name":"Mine"}`, 403, "ROLE_TOO_LOW")
		wants(t, "update", s.ok(t, ann, "PATCH", path, `{"name":"Crew","description":"D"}`, nil).raw, `{"group":{"groupId":"`+id+`","name":"Crew","description":"D","memberCount":2},"$only":true}`)
		next("groupChanged", ann, 0)
		wants(t, "null clears", s.ok(t, ann, "PATCH", path, `{"description":null}`, nil).raw, `{"group":{"name":"Crew","description":""}}`)
		seq += len(s.entriesFrom(t, ann, conv, seq))
		wants(t, "title", s.conversation(t, bob, conv), `{"title":"Crew"}`)
		s.fails(t, ann, "PATCH", path, `{"name":null}`, 400, "INVALID_FIELD")
		s.fails(t, ann, "PATCH", path, `{"joinMode":"magic"}`, 400, "INVALID_FIELD")
	})
	b, _ := s.line(t, bob, "")
	t.Run("add", func(t *testing.T) {
		add := func(u *client.User, ids ...string) answer {
			return s.rest(t, u, "POST", path+"/members", client.Object{"userIds": ids})
		}
		s.fails(t, bob, "POST", path+"/members", client.Object{"userIds": []string{cid.ID}}, 403, "ROLE_TOO_LOW")
		s.fails(t, eve, "POST", path+"/members", client.Object{"userIds": []string{cid.ID}}, 404, "NOT_FOUND")
		s.fails(t, ann, "POST", path+"/members", client.Object{"userIds": []string{cid.ID, "nobody"}}, 404, "NOT_FOUND")
		if a := add(ann, cid.ID, cid.ID, bob.ID); a.status != 200 {
			t.Fatalf("addMembers = %d %s; want 200", a.status, a.raw)
		} else {
			wants(t, "addMembers", a.raw, `{"group":`+groupShape(id, ann.ID, 3, "owner")+`}`)
		}
		next("memberJoined", ann, 0, cid)
		b.await(t, `"method":"entry"`, `"memberJoined"`)
		wants(t, "the joiner's conversation", s.conversation(t, cid, conv), fmt.Sprintf(`{"minSeq":%d,"maxSeq":null,"unread":0}`, seq))
		if got, want := s.seqs(t, cid, conv), fmt.Sprintf("%d [%d,%d] more=false", seq, seq, seq); got != want {
			t.Errorf("history of who joined = %s; want %s", got, want)
		}
	})
	t.Run("roles", func(t *testing.T) {
		member := path + "/members/"
		s.fails(t, bob, "PATCH", member+cid.ID, `{"role":"admin"}`, 403, "ROLE_TOO_LOW")
		wants(t, "updateMember", s.ok(t, ann, "PATCH", member+bob.ID, `{"role":"admin"}`, nil).raw, `{"member":{"user":{"userId":"`+bob.ID+`"},"role":"admin","mutedUntil":null,"nickname":"","joinedAt":"$time","$only":true},"$only":true}`)
		next("roleChanged", ann, 0, bob)
		s.fails(t, bob, "PATCH", member+cid.ID, `{"role":"admin"}`, 403, "ROLE_TOO_LOW") // "only the owner changes roles"
		s.fails(t, ann, "PATCH", member+cid.ID, `{"role":"king"}`, 400, "INVALID_FIELD")
		s.fails(t, ann, "PATCH", member+eve.ID, `{"role":"admin"}`, 404, "NOT_FOUND")
		s.ok(t, bob, "POST", path+"/members", client.Object{"userIds": []string{eve.ID}}, nil) // admins add
		next("memberJoined", bob, 0, eve)
		s.fails(t, cid, "DELETE", member+eve.ID, nil, 403, "ROLE_TOO_LOW")
		s.fails(t, bob, "DELETE", member+ann.ID, nil, 403, "ROLE_TOO_LOW")
		s.ok(t, bob, "PATCH", member+bob.ID, `{"nickname":"Bobo"}`, nil)
		seq += len(s.entriesFrom(t, ann, conv, seq))
	})
	e, _ := s.line(t, eve, "")
	removedAt := 0
	t.Run("remove", func(t *testing.T) {
		s.say(t, ann, "groupId", id, "eve sees it")
		s.say(t, eve, "groupId", id, "and writes")
		seq += 2
		wants(t, "removeMember", s.ok(t, bob, "DELETE", path+"/members/"+eve.ID, nil, nil).raw, `{"$only":true}`)
		next("memberRemoved", bob, 2, eve)
		removedAt = seq
		e.await(t, `"memberRemoved"`) // both included
		hidden := s.say(t, ann, "groupId", id, "eve does not")
		seq++
		s.fails(t, eve, "POST", "/messages", client.Object{"clientMsgId": "e1", "groupId": id, "text": client.Object{"text": "x"}}, 403, "NOT_MEMBER")
		refused(t, e.call(t, "message.send", client.Object{"clientMsgId": "e2", "conversationId": conv, "text": client.Object{"text": "x"}}), "NOT_MEMBER")
		b.await(t, hidden.MessageID)
		if e.count(hidden.MessageID) != 0 {
			t.Error("who was removed got a push of a later message")
		}
		got := s.conversation(t, eve, conv)
		wants(t, "conversation of who was removed", got, fmt.Sprintf(`{"maxSeq":%d,"lastEntry":{"seq":%d},"head":{"seq":%d}}`, removedAt, removedAt, removedAt))
		if p := s.seqs(t, eve, conv); !strings.HasSuffix(p, fmt.Sprintf(",%d] more=false", removedAt)) || !strings.Contains(p, fmt.Sprintf(" %d [", removedAt)) {
			t.Errorf("history of who was removed = %s; want up to %d", p, removedAt)
		}
		wants(t, "entries beyond", s.ok(t, eve, "GET", fmt.Sprintf("/conversations/%s/entries?afterSeq=%d", conv, removedAt), nil, nil).raw, `{"entries":[],"hasMore":false}`)
		for _, q := range []string{"aroundSeq=%d", "afterSeq=%d", "beforeSeq=100%d", "atTime=2999-01-01T00:00:0%dZ"} {
			q = "/conversations/" + conv + "/messages?" + fmt.Sprintf(q, removedAt%10)
			if raw := s.rest(t, eve, "GET", q, nil).raw; strings.Contains(string(raw), hidden.MessageID) {
				t.Errorf("%s of who was removed = %s; want nothing later", q, raw)
			}
		}
		wants(t, "marking beyond", s.ok(t, eve, "POST", "/conversations/"+conv+"/read", `{"seq":9999}`, nil).raw, fmt.Sprintf(`{"read":{"seq":%d}}`, removedAt))
		s.fails(t, eve, "GET", path+"/members", nil, 403, "NOT_MEMBER") // NOT_FOUND is for who never was one
		s.fails(t, bob, "DELETE", path+"/members/"+eve.ID, nil, 404, "NOT_FOUND")
	})
	t.Run("leave and come back", func(t *testing.T) {
		s.fails(t, ann, "DELETE", path+"/members/me", nil, 400, "OWNER_MUST_TRANSFER")
		wants(t, "leave", s.ok(t, cid, "DELETE", path+"/members/me", nil, nil).raw, `{"$only":true}`)
		next("memberLeft", cid, 3, cid)
		left := seq
		missed := s.say(t, ann, "groupId", id, "cid misses it")
		seq++
		wants(t, "conversation of who left", s.conversation(t, cid, conv), fmt.Sprintf(`{"maxSeq":%d}`, left))
		s.fails(t, cid, "POST", "/conversations/"+conv+"/messages", client.Object{"clientMsgId": "c1", "text": client.Object{"text": "x"}}, 403, "NOT_MEMBER")
		s.ok(t, ann, "POST", path+"/members", client.Object{"userIds": []string{cid.ID}}, nil)
		next("memberJoined", ann, 4, cid)
		wants(t, "conversation of who came back", s.conversation(t, cid, conv), `{"maxSeq":null,"unread":0}`)
		back := s.say(t, cid, "groupId", id, "back")
		seq++
		if back.Seq != uint64(seq) {
			t.Errorf("seq after coming back = %d; want %d", back.Seq, seq)
		}
		for _, q := range []string{"/messages?afterSeq=0", "/entries?afterSeq=0", "/messages"} {
			if raw := s.ok(t, cid, "GET", "/conversations/"+conv+q, nil, nil).raw; strings.Contains(string(raw), missed.MessageID) || strings.Contains(string(raw), "cid misses it") {
				t.Errorf("%s of who came back = %s; want nothing of the time between", q, raw)
			}
		}
	})
	t.Run("transfer", func(t *testing.T) {
		s.fails(t, bob, "POST", path+"/transfer", client.Object{"userId": bob.ID}, 403, "ROLE_TOO_LOW")
		s.fails(t, ann, "POST", path+"/transfer", client.Object{"userId": dan.ID}, 404, "NOT_FOUND")
		wants(t, "transfer", s.ok(t, ann, "POST", path+"/transfer", client.Object{"userId": bob.ID}, nil).raw, `{"group":{"groupId":"`+id+`","ownerId":"`+bob.ID+`","memberCount":3},"$only":true}`)
		if n := s.entriesFrom(t, bob, conv, seq); len(n) != 1 {
			t.Errorf("transfer appended %s; want one notice", n)
		}
		seq++
		wants(t, "the new owner's", s.ok(t, bob, "GET", path, nil, nil).raw, `{"group":{"ownerId":"`+bob.ID+`","role":"owner"}}`)
		s.fails(t, ann, "DELETE", path, nil, 403, "ROLE_TOO_LOW")
	})
	t.Run("dissolve", func(t *testing.T) {
		wants(t, "dissolve", s.ok(t, bob, "DELETE", path, nil, nil).raw, `{"$only":true}`)
		next("groupDissolved", bob, 5)
		s.fails(t, bob, "POST", "/messages", client.Object{"clientMsgId": "d1", "groupId": id, "text": client.Object{"text": "x"}}, 403, "NOT_MEMBER")
		wants(t, "conversation afterwards", s.conversation(t, cid, conv), fmt.Sprintf(`{"maxSeq":%d}`, seq))
		s.ok(t, cid, "GET", "/conversations/"+conv+"/messages", nil, nil)
		s.fails(t, dan, "POST", path+"/members", client.Object{"userIds": []string{dan.ID}}, 404, "NOT_FOUND")
	})
}

// historyVisibility all: who joins sees from the start.
func TestContractGroupVisibility(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	id := s.group(t, ann)
	s.say(t, ann, "groupId", id, "early")
	s.ok(t, ann, "PATCH", "/groups/"+id, `{"historyVisibility":"all"}`, nil)
	s.ok(t, ann, "POST", "/groups/"+id+"/members", client.Object{"userIds": []string{bob.ID}}, nil)
	wants(t, "conversation", s.conversation(t, bob, "g~"+id), `{"minSeq":1}`)
	if raw := s.ok(t, bob, "GET", "/conversations/g~"+id+"/messages?afterSeq=0", nil, nil).raw; !strings.Contains(string(raw), "early") {
		t.Errorf("history where all is visible = %s; want it from the start", raw)
	}
}

// walk reads a conversation page by page in one direction and returns the seqs in ascending order.
func (s *server) walk(t *testing.T, u *client.User, conversation, what string, limit int) []uint64 {
	t.Helper()
	query := "/messages?limit=%d&afterSeq=0"
	forward := what != "beforeSeq"
	if !forward {
		query = "/messages?limit=%d"
	}
	if what == "entries" {
		query = "/entries?limit=%d&afterSeq=0"
	}
	query = fmt.Sprintf(query, limit)
	var out []uint64
	for range 100 {
		var p page
		s.ok(t, u, "GET", "/conversations/"+conversation+query, nil, &p)
		var seqs []uint64
		for _, e := range p.Entries {
			if e.Kind != "hidden" {
				seqs = append(seqs, e.Seq)
			}
		}
		switch {
		case what == "entries":
			out = append(out, seqs...)
			query = fmt.Sprintf("/entries?limit=%d&afterSeq=%d", limit, p.ToSeq)
		case forward:
			out = append(out, seqs...)
			query = fmt.Sprintf("/messages?limit=%d&afterSeq=%d", limit, p.ToSeq)
		default:
			out = append(seqs, out...)
			query = fmt.Sprintf("/messages?limit=%d&beforeSeq=%d", limit, p.FromSeq)
		}
		if !p.HasMore {
			return out
		}
	}
	t.Errorf("%s by %s, %d at a time: no end after 100 pages", conversation, what, limit)
	return out
}

// Who leaves and comes back sees both spans and nothing between, however one pages.
func TestContractGroupSpans(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	id := s.group(t, ann) // 1
	conv := "g~" + id
	add := func() {
		t.Helper()
		s.ok(t, ann, "POST", "/groups/"+id+"/members", client.Object{"userIds": []string{bob.ID}}, nil)
	}
	line, f := s.line(t, bob, "")
	var connected struct{ SyncToken string }
	_ = json.Unmarshal(result(t, f), &connected)
	for range 4 {
		s.say(t, ann, "groupId", id, "before") // 2 to 5
	}
	add() // 6
	t.Run("the joiner is told", func(t *testing.T) {
		wants(t, "push", []byte(line.await(t, `"memberJoined"`)), `{"params":{"n":1,"entry":{"seq":6,"notice":{"type":"memberJoined","userIds":["`+bob.ID+`"]}}}}`)
		wants(t, "sync", s.ok(t, bob, "POST", "/sync", client.Object{"syncToken": connected.SyncToken}, nil).raw, `{"conversations":[{"conversationId":"`+conv+`","minSeq":6,"unread":0}]}`)
	})
	s.say(t, ann, "groupId", id, "in")                            // 7
	s.say(t, ann, "groupId", id, "in")                            // 8
	s.ok(t, bob, "DELETE", "/groups/"+id+"/members/me", nil, nil) // 9
	t.Run("who left is told", func(t *testing.T) {
		line.await(t, `"memberLeft"`, `"seq":9,`)
		wants(t, "sync", s.ok(t, bob, "POST", "/sync", client.Object{"syncToken": connected.SyncToken}, nil).raw, `{"conversations":[{"conversationId":"`+conv+`","minSeq":6,"maxSeq":9,"head":{"seq":9,"ordinal":6},"unread":2,"lastEntry":{"seq":9}}]}`)
	})
	for range 30 {
		s.say(t, ann, "groupId", id, "between") // 10 to 39
	}
	wants(t, "conversation after leaving", s.conversation(t, bob, conv), `{"minSeq":6,"maxSeq":9,"head":{"seq":9,"ordinal":6},"unread":2}`)
	_, f = s.line(t, s.device(t, bob, "pad", "ios"), "")
	wants(t, "connect after leaving", result(t, f), `{"conversations":[{"maxSeq":9,"head":{"seq":9},"lastEntry":{"seq":9},"unread":2}]}`)
	if line.count("between") != 0 {
		t.Error("who left got pushes of later messages")
	}
	add()                                 // 40
	s.say(t, ann, "groupId", id, "again") // 41
	s.say(t, ann, "groupId", id, "again") // 42
	eventually(t, "all is stored", func() bool { return s.metric("oceanchat_persistence_entries_stored_total") == 42 })
	want := "[6 7 8 9 40 41 42]"
	if got := fmt.Sprint(s.walk(t, bob, conv, "afterSeq", 100)); got != want && got != "[40 41 42]" {
		t.Fatalf("history of who came back = %s; want %s, or the last span alone", got, want)
	} else {
		want = got
	}
	for _, what := range []string{"afterSeq", "beforeSeq", "entries"} {
		for _, limit := range []int{1, 2, 3, 100} {
			if got := fmt.Sprint(s.walk(t, bob, conv, what, limit)); got != want {
				t.Errorf("by %s, %d at a time = %s; want %s", what, limit, got, want)
			}
		}
	}
	for at := range 43 {
		raw := s.rest(t, bob, "GET", fmt.Sprintf("/conversations/%s/messages?aroundSeq=%d&limit=5", conv, at), nil).raw
		if strings.Contains(string(raw), `"between"`) || strings.Contains(string(raw), `"before"`) {
			t.Errorf("around %d = %s; want nothing from outside the spans", at, raw)
		}
	}
	wants(t, "read all", s.ok(t, bob, "POST", "/conversations/"+conv+"/read", `{"seq":42}`, nil).raw, `{"read":{"seq":42},"unread":0}`)
}

// A reply, a mention and a cursor cannot reach what one does not see.
func TestContractGroupUnseen(t *testing.T) {
	s := startContract(t)
	ann, bob, eve := s.user("ann"), s.user("bob"), s.user("eve")
	id := s.group(t, ann)
	early := s.say(t, ann, "groupId", id, "early")
	s.ok(t, ann, "POST", "/groups/"+id+"/members", client.Object{"userIds": []string{bob.ID}}, nil)
	n := 0
	reply := func(to string) answer {
		n++
		return s.rest(t, bob, "POST", "/messages", client.Object{"clientMsgId": fmt.Sprint("r", n), "groupId": id, "text": client.Object{"text": "x"}, "replyTo": to})
	}
	// "What is not yours answers exactly as what is not there", whichever answer that is.
	elsewhere := s.say(t, ann, "toUserId", eve.ID, "private")
	absent := reply("zzzzzzzzzzzzz2")
	for name, to := range map[string]string{"one does not see": early.MessageID, "another conversation holds": elsewhere.MessageID} {
		if a := reply(to); a.status != absent.status || strings.Contains(string(a.raw), "private") || strings.Contains(string(a.raw), "early") {
			t.Errorf("reply to what %s = %d %s, to what is not there = %d %s; want the same", name, a.status, a.raw, absent.status, absent.raw)
		}
	}
	b := client.Object{"clientMsgId": "m", "groupId": id, "text": client.Object{"text": "@eve", "mentions": []client.Object{{"userId": eve.ID, "offset": 0, "length": 4}}}}
	a := s.rest(t, bob, "POST", "/messages", b)
	if a.status != 200 && a.status != 400 {
		t.Errorf("mention of who is no member = %d %s; want 200 or 400", a.status, a.raw)
	}
	s.fails(t, eve, "GET", "/conversations/g~"+id, nil, 404, "NOT_FOUND")
}
