package system

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
)

const sentShape = `{"messageId":"$id","conversationId":"$text","seq":"$num","ordinal":"$num","sentAt":"$time","$only":true}`

// MSG rows: what a send takes and gives.
func TestContractSend(t *testing.T) {
	s := startContract(t)
	ann, bob, cid := s.user("ann"), s.user("bob"), s.user("cid")
	chat := direct(ann, bob)
	group := s.group(t, ann, bob)
	text := func(id, x string) client.Object {
		return client.Object{"clientMsgId": id, "toUserId": bob.ID, "text": client.Object{"text": x}}
	}
	t.Run("targets", func(t *testing.T) {
		for _, tt := range []struct {
			name, path string
			body       client.Object
			want       string
		}{
			{"a user", "/messages", client.Object{"toUserId": bob.ID}, chat},
			{"a group", "/messages", client.Object{"groupId": group}, "g~" + group},
			{"a direct conversation", "/messages", client.Object{"conversationId": chat}, chat},
			{"a group's conversation", "/messages", client.Object{"conversationId": "g~" + group}, "g~" + group},
			{"a path", "/conversations/" + chat + "/messages", client.Object{}, chat},
			{"a group's path", "/conversations/g~" + group + "/messages", client.Object{}, "g~" + group},
			{"a path with ~ escaped", "/conversations/" + strings.ReplaceAll(chat, "~", "%7E") + "/messages", client.Object{}, chat},
			{"a direct conversation that is not there yet", "/messages", client.Object{"conversationId": direct(ann, cid)}, direct(ann, cid)},
			{"empty other targets", "/messages", client.Object{"toUserId": bob.ID, "groupId": "", "conversationId": ""}, chat},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tt.body["clientMsgId"], tt.body["text"], tt.body["zzz"] = strings.ReplaceAll(tt.name, " ", "_")[:5]+fmt.Sprint(len(tt.name)), client.Object{"text": "x"}, 1
				tt.body["clientMsgId"] = strings.Map(func(r rune) rune {
					if r == '\'' || r == '~' {
						return '-'
					}
					return r
				}, tt.body["clientMsgId"].(string))
				raw := s.ok(t, ann, "POST", tt.path, tt.body, nil).raw
				wants(t, "send", raw, strings.Replace(sentShape, `"conversationId":"$text"`, `"conversationId":"`+tt.want+`"`, 1))
			})
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, tt := range []struct {
			name, path string
			change     client.Object
			status     int
			reason     string
		}{
			{"no text", "", client.Object{"text": nil}, 400, "INVALID_FIELD"},
			{"an empty text", "", client.Object{"text": client.Object{"text": ""}}, 400, "INVALID_FIELD"},
			{"no clientMsgId", "", client.Object{"clientMsgId": ""}, 400, "INVALID_FIELD"},
			{"65 characters of clientMsgId", "", client.Object{"clientMsgId": strings.Repeat("a", 65)}, 400, "INVALID_FIELD"},
			{"a dot in clientMsgId", "", client.Object{"clientMsgId": "a.b"}, 400, "INVALID_FIELD"},
			{"user and group", "", client.Object{"groupId": group}, 400, "INVALID_FIELD"},
			{"a path and another target", "/conversations/" + chat + "/messages", client.Object{}, 400, "INVALID_FIELD"},
			{"an unknown group", "", client.Object{"toUserId": "", "groupId": "nothing"}, 404, "NOT_FOUND"},
			{"an unknown conversation", "", client.Object{"toUserId": "", "conversationId": "g~nothing"}, 404, "NOT_FOUND"},
			{"one's own inbox", "", client.Object{"toUserId": "", "conversationId": "i~" + ann.ID}, 404, "NOT_FOUND"},
			{"a chat with oneself", "", client.Object{"toUserId": "", "conversationId": direct(ann, ann)}, 400, "INVALID_FIELD"},
			{"a chat of two others", "", client.Object{"toUserId": "", "conversationId": direct(bob, cid)}, 404, "NOT_FOUND"},
			{"ids out of byte order", "", client.Object{"toUserId": "", "conversationId": reversed(chat)}, 400, "INVALID_FIELD"},
			{"an id with a space", "", client.Object{"toUserId": "a b"}, 400, "INVALID_FIELD"},
			{"a replyTo that is not there", "", client.Object{"replyTo": "nothing"}, 400, "INVALID_FIELD"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				body := text("r1", "x")
				maps.Copy(body, tt.change)
				path := tt.path
				if path == "" {
					path = "/messages"
				}
				switch tt.name {
				case "a replyTo that is not there", "ids out of byte order", "a chat with oneself": // INVALID_FIELD or NOT_FOUND: the contract leaves it open
					if a := s.rest(t, ann, "POST", path, body); a.status != 400 && a.status != 404 {
						t.Errorf("%s = %d %s; want 400 or 404", tt.name, a.status, a.raw)
					}
				default:
					s.fails(t, ann, "POST", path, body, tt.status, tt.reason)
				}
			})
		}
		s.ok(t, ann, "POST", "/messages", text(strings.Repeat("a", 64), strings.Repeat("😀", 5000)), nil)
	})
	t.Run("idempotence", func(t *testing.T) {
		first := s.ok(t, ann, "POST", "/messages", text("same", "x"), nil).raw
		for _, resend := range []bool{false, true} {
			body := text("same", "x")
			body["resend"] = resend
			if again := s.ok(t, ann, "POST", "/messages", body, nil).raw; string(again) != string(first) {
				t.Errorf("again with resend %v = %s; want %s", resend, again, first)
			}
			body["toUserId"], body["conversationId"] = "", chat
			if again := s.ok(t, ann, "POST", "/messages", body, nil).raw; string(again) != string(first) {
				t.Errorf("again by conversationId = %s; want %s", again, first)
			}
			other := text("same", "y")
			other["resend"] = resend
			s.fails(t, ann, "POST", "/messages", other, 409, "CLIENT_MSG_ID_REUSED")
		}
		var theirs, own sent
		s.ok(t, bob, "POST", "/messages", client.Object{"clientMsgId": "same", "toUserId": ann.ID, "text": client.Object{"text": "z"}}, &theirs)
		_ = json.Unmarshal(first, &own)
		if theirs.Seq <= own.Seq {
			t.Errorf("another's message under the same clientMsgId = %+v; want a message of its own after %d", theirs, own.Seq)
		}
		unknown := text("never", "x")
		unknown["resend"] = true
		s.ok(t, ann, "POST", "/messages", unknown, nil)
		var p page
		s.ok(t, ann, "GET", "/conversations/"+chat+"/entries?afterSeq=0&limit=100", nil, &p)
		n := 0
		for _, e := range p.Entries {
			if e.ClientMsgID == "same" && e.SenderID == ann.ID {
				n++
			}
		}
		if n != 1 {
			t.Errorf("the log holds %d messages of ann's under one clientMsgId; want 1", n)
		}
	})
}

func reversed(chat string) string {
	p := strings.Split(chat, "~")
	return p[0] + "~" + p[2] + "~" + p[1]
}

// Entries, conversations and pushes of a direct chat, field by field.
func TestContractDirect(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	chat := direct(ann, bob)
	pad := s.device(t, ann, "pad", "ios")
	a1, _ := s.line(t, ann, "")
	a2, _ := s.line(t, pad, "")
	b1, _ := s.line(t, bob, "")
	var first sent
	s.ok(t, ann, "POST", "/messages", client.Object{"clientMsgId": "m1", "toUserId": bob.ID, "text": client.Object{"text": "hi 😀 @bob", "mentions": []client.Object{{"userId": bob.ID, "offset": 5, "length": 4}}}}, &first)
	entry := func(seq int, id, from, body, reply string) string {
		return fmt.Sprintf(`{"conversationId":"%s","seq":%d,"ordinal":%d,"messageId":"$id","clientMsgId":"%s","kind":"text","senderId":"%s","sentAt":"$time","text":%s,"replyTo":%s,"editedAt":null,"recalled":false,"reactions":[],"$only":true}`, chat, seq, seq, id, from, body, reply)
	}
	e1 := entry(1, "m1", ann.ID, `{"text":"hi 😀 @bob","mentions":[{"userId":"`+bob.ID+`","offset":5,"length":4,"$only":true}],"$only":true}`, "null")
	push := func(n int, entry string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"entry","params":{"n":%d,"entry":%s,"$only":true},"$only":true}`, n, entry)
	}
	t.Run("push to all devices, the sender's too", func(t *testing.T) {
		for _, w := range []*rawConn{a1, a2, b1} {
			f := w.await(t, `"method":"entry"`)
			wants(t, "push", []byte(f), push(1, e1))
			if !strings.HasPrefix(f, `{"jsonrpc":"2.0","method":"entry",`) {
				t.Errorf("push = %s; want jsonrpc and method first", f)
			}
		}
	})
	conversation := func(peer *client.User, read, peerRead, unread, mention int) string {
		return fmt.Sprintf(`{"conversationId":"%s","kind":"direct","title":"$any","avatar":"","peer":{"userId":"%s","username":"%s","nickname":"%s","avatar":"","bio":"","$only":true},"minSeq":1,"maxSeq":null,
			"head":{"seq":1,"ordinal":1,"sentAt":"$time","$only":true},"read":{"seq":%d,"ordinal":%d,"$only":true},"peerReadSeq":%d,"unread":%d,"mentionSeq":%d,"pinned":false,"mutedUntil":null,"draft":null,"hidden":false,"lastEntry":%s,"$only":true}`,
			chat, peer.ID, peer.Username, strings.ToUpper(peer.Username), read, read, peerRead, unread, mention, e1)
	}
	t.Run("conversation", func(t *testing.T) {
		wants(t, "the sender's", s.conversation(t, ann, chat), conversation(bob, 1, 0, 0, 0))
		wants(t, "the receiver's", s.conversation(t, bob, chat), conversation(ann, 0, 1, 1, 1))
		wants(t, "the list", s.ok(t, bob, "GET", "/conversations", nil, nil).raw, `{"conversations":[`+conversation(ann, 0, 1, 1, 1)+`],"nextPageToken":"","$only":true}`)
	})
	t.Run("history", func(t *testing.T) {
		for _, path := range []string{"/messages", "/entries?afterSeq=0"} {
			wants(t, path, s.ok(t, bob, "GET", "/conversations/"+chat+path, nil, nil).raw, `{"entries":[`+e1+`],"fromSeq":1,"toSeq":1,"hasMore":false,"$only":true}`)
		}
	})
	t.Run("reading", func(t *testing.T) {
		bobPad := s.device(t, bob, "pad", "ios")
		b2, _ := s.line(t, bobPad, "")
		read := func(seq, want, unread int) {
			t.Helper()
			wants(t, fmt.Sprint("markRead ", seq), s.ok(t, bob, "POST", "/conversations/"+chat+"/read", client.Object{"seq": seq}, nil).raw,
				fmt.Sprintf(`{"read":{"seq":%d,"ordinal":%d,"$only":true},"unread":%d,"$only":true}`, want, want, unread))
		}
		for i := 2; i <= 4; i++ {
			s.say(t, ann, "toUserId", bob.ID, fmt.Sprint("m", i))
		}
		read(2, 2, 2)
		f := a1.await(t, `"method":"receipt"`)
		wants(t, "receipt", []byte(f), `{"jsonrpc":"2.0","method":"receipt","params":{"conversationId":"`+chat+`","userId":"`+bob.ID+`","deliveredSeq":"$num","readSeq":2,"$only":true},"$only":true}`)
		a2.await(t, `"method":"receipt"`)
		for _, w := range []*rawConn{b1, b2} {
			f = w.await(t, `"method":"conversation"`)
			wants(t, "the other device", []byte(f), `{"jsonrpc":"2.0","method":"conversation","params":{"conversation":{"conversationId":"`+chat+`","kind":"direct","read":{"seq":2,"ordinal":2},"unread":2,"mentionSeq":0,"head":{"seq":4,"ordinal":4}},"$only":true},"$only":true}`)
		}
		read(1, 2, 2)
		read(2, 2, 2)
		read(0, 2, 2)
		read(99, 4, 0)
		wants(t, "peerReadSeq", s.conversation(t, ann, chat), `{"peerReadSeq":4,"unread":0}`)
		s.fails(t, bob, "POST", "/conversations/"+chat+"/read", `{"seq":-1}`, 400, "INVALID_FIELD")
		s.say(t, ann, "toUserId", bob.ID, "m5")
		s.say(t, bob, "toUserId", ann.ID, "m6")
		wants(t, "sending reads up to one's own message", s.conversation(t, bob, chat), `{"read":{"seq":6,"ordinal":6},"unread":0,"head":{"seq":6}}`)
		wants(t, "and not the other's", s.conversation(t, ann, chat), `{"read":{"seq":5,"ordinal":5},"unread":1,"peerReadSeq":6}`)
	})
	t.Run("reply", func(t *testing.T) {
		var got sent
		s.ok(t, bob, "POST", "/messages", client.Object{"clientMsgId": "re", "toUserId": ann.ID, "text": client.Object{"text": "yes"}, "replyTo": first.MessageID}, &got)
		f := a1.await(t, `"clientMsgId":"re"`)
		wants(t, "push", []byte(f), push(7, entry(7, "re", bob.ID, `{"text":"yes","mentions":[],"$only":true}`, `"`+first.MessageID+`"`)))
	})
	t.Run("typing", func(t *testing.T) {
		wants(t, "typing", []byte(b1.call(t, "message.typing", client.Object{"conversationId": chat})), `{"jsonrpc":"2.0","id":"$num","result":{},"$only":true}`)
		wants(t, "push", []byte(a1.await(t, `"method":"typing"`)), `{"jsonrpc":"2.0","method":"typing","params":{"conversationId":"`+chat+`","userId":"`+bob.ID+`","$only":true},"$only":true}`)
		s.fails(t, bob, "POST", "/conversations/"+chat+"/typing", nil, 404, "NO_ROUTE")
	})
	t.Run("n counts per connection", func(t *testing.T) {
		pad, _ := s.line(t, s.device(t, bob, "pad", "ios"), "")
		s.say(t, ann, "toUserId", bob.ID, "n?")
		pad.await(t, `"method":"entry"`, `"seq":8,`)
		wants(t, "the new one", []byte(pad.await(t, `"method":"entry"`)), `{"params":{"n":1}}`) // an earlier entry may still arrive
		wants(t, "the old one", []byte(b1.await(t, `"seq":8,`)), `{"params":{"n":8,"entry":{"seq":8}}}`)
		pad.send(`{"jsonrpc":"2.0","method":"ack","params":{"n":1}}`)
		pad.settled(t)
		if n := pad.count(`"jsonrpc":"2.0","id"`); n != 3 {
			t.Errorf("an ack was answered: %q", pad.all())
		}
	})
}

// Mentions: offsets in code points, the first unread one.
func TestContractMentions(t *testing.T) {
	s := startContract(t)
	ann, bob, cid := s.user("ann"), s.user("bob"), s.user("cid")
	group := s.group(t, ann, bob, cid)
	id := 0
	body := func(text string, offset, length int, who string) client.Object {
		id++
		return client.Object{"clientMsgId": fmt.Sprint("m", id), "groupId": group, "text": client.Object{"text": text, "mentions": []client.Object{{"userId": who, "offset": offset, "length": length}}}}
	}
	for _, tt := range []struct {
		name           string
		text           string
		offset, length int
		ok             bool
	}{
		{"code points, not bytes", "😀é@bob", 2, 4, true},
		{"beyond the end in code points, inside in bytes", "😀é@bob", 3, 4, false},
		{"all", "@bob", 0, 4, true},
		{"length 0", "@bob", 0, 0, false},
		{"behind", "@bob", 4, 1, false},
		{"negative", "@bob", -1, 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := body(tt.text, tt.offset, tt.length, bob.ID)
			if tt.ok {
				s.ok(t, ann, "POST", "/messages", b, nil)
			} else {
				s.fails(t, ann, "POST", "/messages", b, 400, "INVALID_FIELD")
			}
		})
	}
	conv := "g~" + group // groupCreated is 1, the two good mentions are 2 and 3
	wants(t, "bob", s.conversation(t, bob, conv), `{"mentionSeq":2,"unread":2}`)
	wants(t, "cid", s.conversation(t, cid, conv), `{"mentionSeq":0,"unread":2}`)
	s.ok(t, bob, "POST", "/conversations/"+conv+"/read", `{"seq":2}`, nil)
	wants(t, "bob after 2", s.conversation(t, bob, conv), `{"mentionSeq":3,"unread":1}`)
	s.ok(t, bob, "POST", "/conversations/"+conv+"/read", `{"seq":3}`, nil)
	wants(t, "bob after 3", s.conversation(t, bob, conv), `{"mentionSeq":0,"unread":0}`)
	s.say(t, ann, "groupId", group, "no one")
	s.ok(t, ann, "POST", "/messages", body("@cid", 0, 4, cid.ID), nil)
	s.ok(t, ann, "POST", "/messages", body("@bob", 0, 4, bob.ID), nil)
	wants(t, "bob later", s.conversation(t, bob, conv), `{"mentionSeq":6,"unread":3,"lastEntry":{"seq":6}}`)
	wants(t, "the sender", s.conversation(t, ann, conv), `{"mentionSeq":0,"unread":0,"read":{"seq":6,"ordinal":5}}`)
	s.say(t, bob, "groupId", group, "here")
	wants(t, "bob, having sent", s.conversation(t, bob, conv), `{"mentionSeq":0,"unread":0}`)
	wants(t, "ann", s.conversation(t, ann, conv), `{"unread":1}`)
}

// QRY rows: bounds of history and of the raw log, before and after the writer stored.
func TestContractHistory(t *testing.T) {
	s := startContract(t)
	ann, bob, eve := s.user("ann"), s.user("bob"), s.user("eve")
	chat := direct(ann, bob)
	var times []string
	for i := range 130 {
		times = append(times, s.say(t, ann, "toUserId", bob.ID, fmt.Sprint("m", i+1)).SentAt)
	}
	path := "/conversations/" + chat
	tests := []struct {
		query                 string
		first, last, from, to int
		more                  bool
	}{
		{"/messages", 81, 130, 81, 130, true},
		{"/messages?limit=3", 128, 130, 128, 130, true},
		{"/messages?limit=1000", 31, 130, 31, 130, true},
		{"/messages?afterSeq=0&limit=10", 1, 10, 1, 10, true},
		{"/messages?afterSeq=0", 1, 50, 1, 50, true},
		{"/messages?afterSeq=10&limit=5", 11, 15, 11, 15, true},
		{"/messages?afterSeq=125&limit=5", 126, 130, 126, 130, false},
		{"/messages?afterSeq=125&limit=4", 126, 129, 126, 129, true},
		{"/messages?afterSeq=30&limit=101", 31, 130, 31, 130, false},
		{"/messages?beforeSeq=11&limit=5", 6, 10, 6, 10, true},
		{"/messages?beforeSeq=6&limit=5", 1, 5, 1, 5, false},
		{"/messages?beforeSeq=131&limit=2", 129, 130, 129, 130, true},
		{"/messages?beforeSeq=1000&limit=2", 129, 130, 129, 130, true},
		{"/entries?afterSeq=0&limit=4", 1, 4, 1, 4, true},
		{"/entries?afterSeq=126&limit=4", 127, 130, 127, 130, false},
		{"/entries?afterSeq=0&limit=1000", 1, 100, 1, 100, true},
		{"/messages?limit=2147483647", 31, 130, 31, 130, true},
	}
	check := func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.query, func(t *testing.T) {
				var p page
				s.ok(t, bob, "GET", path+tt.query, nil, &p)
				if len(p.Entries) != tt.last-tt.first+1 || int(p.Entries[0].Seq) != tt.first || int(p.Entries[len(p.Entries)-1].Seq) != tt.last ||
					int(p.FromSeq) != tt.from || int(p.ToSeq) != tt.to || p.HasMore != tt.more {
					t.Errorf("%s = %v; want %d to %d, more %v", tt.query, p, tt.first, tt.last, tt.more)
				}
				for i := range p.Entries[1:] {
					if p.Entries[i+1].Seq != p.Entries[i].Seq+1 {
						t.Errorf("%s = %v; want ascending without holes", tt.query, p)
					}
				}
			})
		}
	}
	t.Run("at once", check)
	eventually(t, "all is stored", func() bool { return s.metric("oceanchat_persistence_entries_stored_total") == 130 })
	t.Run("stored", check)
	t.Run("around", func(t *testing.T) {
		for _, tt := range []struct{ seq, limit int }{{60, 11}, {1, 10}, {130, 10}, {60, 1}} {
			var p page
			s.ok(t, bob, "GET", fmt.Sprintf("%s/messages?aroundSeq=%d&limit=%d", path, tt.seq, tt.limit), nil, &p)
			inside := false
			for _, e := range p.Entries {
				inside = inside || int(e.Seq) == tt.seq
			}
			if !inside || len(p.Entries) > tt.limit {
				t.Errorf("around %d, limit %d = %v; want it inclusive", tt.seq, tt.limit, p)
			}
			if tt.seq == 60 && tt.limit == 11 && (len(p.Entries) != 11 || p.FromSeq > 57 || p.ToSeq < 63) {
				t.Errorf("around 60, limit 11 = %v; want entries on both sides", p)
			}
		}
	})
	t.Run("at time", func(t *testing.T) {
		var p page
		s.ok(t, bob, "GET", path+"/messages?limit=10&atTime="+url.QueryEscape(times[60]), nil, &p)
		inside := false
		for _, e := range p.Entries {
			inside = inside || e.Seq == 61
		}
		if !inside {
			t.Errorf("at the time of 61 = %v; want 61 in it", p)
		}
		s.fails(t, bob, "GET", path+"/messages?atTime=yesterday", nil, 400, "INVALID_FIELD")
		for _, at := range []string{"2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"} {
			s.ok(t, bob, "GET", path+"/messages?atTime="+at, nil, &p)
		}
	})
	t.Run("ends", func(t *testing.T) {
		for _, q := range []string{"/messages?afterSeq=130", "/messages?afterSeq=9999", "/messages?beforeSeq=1", "/entries?afterSeq=130"} {
			raw := s.ok(t, bob, "GET", path+q, nil, nil).raw
			wants(t, q, raw, `{"entries":[],"fromSeq":"$num","toSeq":"$num","hasMore":false,"$only":true}`)
		}
	})
	t.Run("walk", func(t *testing.T) {
		seen, after := 0, uint64(0)
		for range 10 {
			var p page
			s.ok(t, bob, "GET", fmt.Sprintf("%s/messages?afterSeq=%d&limit=40", path, after), nil, &p)
			seen, after = seen+len(p.Entries), p.ToSeq
			if !p.HasMore {
				break
			}
		}
		if seen != 130 || after != 130 {
			t.Errorf("going on from toSeq gave %d entries up to %d; want 130", seen, after)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, q := range []string{"/messages?afterSeq=1&aroundSeq=2", "/messages?beforeSeq=1&atTime=2001-01-01T00:00:00Z", "/messages?limit=0", "/messages?limit=1.5", "/messages?afterSeq=18446744073709551616", "/messages?limit=x", "/messages?afterSeq=x", "/entries?limit=0", "/entries?afterSeq=-1"} {
			s.fails(t, bob, "GET", path+q, nil, 400, "INVALID_FIELD")
		}
		for _, q := range []string{"", "/messages", "/entries?afterSeq=0"} {
			s.fails(t, eve, "GET", path+q, nil, 404, "NOT_FOUND")
		}
		w, _ := s.line(t, bob, "")
		refused(t, w.call(t, "query.history", client.Object{"conversationId": chat, "afterSeq": 0, "beforeSeq": 5}), "INVALID_FIELD")
		wants(t, "on the connection", result(t, w.call(t, "query.history", client.Object{"conversationId": chat, "afterSeq": 0, "limit": 1})), `{"entries":[{"seq":1}],"fromSeq":1,"toSeq":1,"hasMore":true,"$only":true}`)
		refused(t, w.call(t, "query.history", client.Object{"conversationId": chat, "limit": 0}), "INVALID_FIELD")
	})
}

// query.sync and the token of connect.
func TestContractSync(t *testing.T) {
	s := startContract(t)
	ann, bob, cid := s.user("ann"), s.user("bob"), s.user("cid")
	type synced struct {
		Epoch                    uint64
		Resync                   bool
		SyncToken, NextPageToken string
		Conversations            []struct {
			ConversationID string
			Unread         uint64
			Head           struct{ Seq uint64 }
		}
	}
	sync := func(token string) synced {
		t.Helper()
		var got synced
		raw := s.ok(t, bob, "POST", "/sync", client.Object{"syncToken": token}, &got).raw
		wants(t, "sync", raw, `{"epoch":1,"resync":false,"syncToken":"$text","conversations":"$any","nextPageToken":"","$only":true}`)
		return got
	}
	empty := sync("")
	if len(empty.Conversations) != 0 {
		t.Errorf("the first sync of an empty account = %+v", empty)
	}
	s.say(t, ann, "toUserId", bob.ID, "1")
	s.say(t, cid, "toUserId", bob.ID, "1")
	two := sync(empty.SyncToken)
	if len(two.Conversations) != 2 || two.Conversations[0].ConversationID != direct(bob, cid) || two.Conversations[0].Unread != 1 {
		t.Errorf("sync after two messages = %+v; want both conversations, the newest first", two)
	}
	s.say(t, ann, "toUserId", bob.ID, "2")
	one := sync(two.SyncToken)
	if len(one.Conversations) == 0 || one.Conversations[0].ConversationID != direct(ann, bob) || one.Conversations[0].Head.Seq != 2 {
		t.Errorf("sync after one message = %+v; want its conversation", one)
	}
	// A cursor that moved elsewhere is a change.
	s.ok(t, bob, "POST", "/conversations/"+direct(ann, bob)+"/read", `{"seq":2}`, nil)
	read := sync(one.SyncToken)
	found := false
	for _, c := range read.Conversations {
		found = found || c.ConversationID == direct(ann, bob) && c.Unread == 0
	}
	if !found {
		t.Errorf("sync after reading = %+v; want the conversation that was read", read)
	}
	// More than what changed may come (the server may remember coarsely), not less.
	_, f := s.line(t, bob, two.SyncToken)
	var connected synced
	if err := json.Unmarshal(result(t, f), &connected); err != nil || len(connected.Conversations) == 0 || connected.Conversations[0].ConversationID != direct(ann, bob) {
		t.Errorf("connect with an old token = %s, %v; want what changed since", f, err)
	}
	// What changed long ago is not among "those changed since the token".
	eventually(t, "a sync without changes is empty", func() bool {
		last := sync("")
		return len(sync(last.SyncToken).Conversations) == 0
	})
	s.fails(t, bob, "POST", "/sync", `{"syncToken":"!"}`, 400, "INVALID_FIELD")
}
