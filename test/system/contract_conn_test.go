package system

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/oceanchat/oceanchat/test/client"
)

func connectParams(u *client.User, syncToken string) client.Object {
	return client.Object{"token": u.Token, "deviceId": u.Device, "platform": u.Platform, "syncToken": syncToken, "acks": true}
}

// The answer to connect, and who is let in.
func TestContractConnect(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	t.Run("an empty account", func(t *testing.T) {
		_, f := s.line(t, ann, "")
		wants(t, "connect", []byte(f), `{"jsonrpc":"2.0","id":1001,"result":{"connectionId":"$text","userId":"`+ann.ID+`","heartbeatSeconds":30,"serverTime":"$time","epoch":1,"resync":false,"syncToken":"$text","conversations":[],"nextPageToken":"","$only":true},"$only":true}`)
	})
	refusals := []struct {
		name, reason string
		change       client.Object
	}{
		{"another device than the login's", "INVALID_FIELD", client.Object{"deviceId": "other"}},
		{"another platform than the login's", "INVALID_FIELD", client.Object{"platform": "ios"}},
		{"no device", "INVALID_FIELD", client.Object{"deviceId": ""}},
		{"an unknown platform", "INVALID_FIELD", client.Object{"platform": "toaster"}},
		{"no token", "TOKEN_MISSING", client.Object{"token": ""}},
		{"a bad token", "TOKEN_INVALID", client.Object{"token": "x.y.z"}},
		{"a refresh token", "TOKEN_INVALID", client.Object{"token": ann.Refresh}},
		{"a broken sync token", "INVALID_FIELD", client.Object{"syncToken": "!"}},
		{"a number as device", "INVALID_FIELD", client.Object{"deviceId": 7}},
	}
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			w := dial(t, s)
			p := connectParams(ann, "")
			maps.Copy(p, tt.change)
			refused(t, w.call(t, "connect", p), tt.reason)
			if code := w.closed(t); code != 4001 {
				t.Errorf("closed with %d; want 4001", code)
			}
		})
	}
	t.Run("a session that has ended", func(t *testing.T) {
		gone := s.device(t, ann, "gone", "ios")
		s.ok(t, gone, "POST", "/auth/logout", nil, nil)
		w := dial(t, s)
		refused(t, w.call(t, "connect", connectParams(gone, "")), "SESSION_ENDED")
		if code := w.closed(t); code != 4001 && code != 4002 {
			t.Errorf("closed with %d; want 4001 or 4002", code)
		}
	})
	t.Run("least params, unknown fields, id as text", func(t *testing.T) {
		w := dial(t, s)
		w.send(fmt.Sprintf(`{"zzz":1,"jsonrpc":"2.0","method":"connect","params":{"token":%q,"deviceId":%q,"platform":"web","later":[1]},"id":"é x"}`, ann.Token, ann.Device))
		wants(t, "connect", []byte(w.await(t, `"result"`)), `{"jsonrpc":"2.0","id":"é x","result":{"resync":false}}`)
		refused(t, w.call(t, "connect", connectParams(ann, "")), w.reasonOfSecondConnect(t))
		w.settled(t)
	})
	t.Run("the same device connected elsewhere", func(t *testing.T) {
		first, _ := s.line(t, bob, "")
		second, _ := s.line(t, bob, "")
		if code := first.closed(t); code != 4003 {
			t.Errorf("the first connection closed with %d; want 4003", code)
		}
		wants(t, "disconnect", []byte(first.await(t, `"disconnect"`)), `{"jsonrpc":"2.0","method":"disconnect","params":{"code":4003,"reason":"$any","reconnect":false,"retryAfterMs":0,"$only":true},"$only":true}`)
		second.settled(t)
	})
	t.Run("the eleventh device", func(t *testing.T) {
		cid := s.user("cid")
		var lines []*rawConn
		for i := range 11 {
			d := s.device(t, cid, fmt.Sprint("d", i), "ios")
			w, _ := s.line(t, d, "")
			lines = append(lines, w)
			if i == 9 {
				for _, l := range lines {
					l.settled(t)
				}
			}
		}
		if code := lines[0].closed(t); code != 4003 {
			t.Errorf("the oldest of eleven closed with %d; want 4003", code)
		}
		for _, l := range lines[1:] {
			l.settled(t)
		}
	})
	t.Run("logging out on the connection", func(t *testing.T) {
		for i := range 10 {
			w, _ := s.line(t, s.device(t, ann, fmt.Sprint("out", i), "ios"), "")
			w.send(`{"jsonrpc":"2.0","id":7,"method":"auth.logout"}`)
			if code := w.closed(t); code != 4002 {
				t.Errorf("closed with %d; want 4002", code)
			}
			wants(t, "disconnect", []byte(w.await(t, `"disconnect"`)), `{"params":{"code":4002,"reconnect":false}}`)
			if all := w.all(); w.count(`{"jsonrpc":"2.0","id":7,"result":{}}`) != 1 {
				t.Errorf("auth.logout got %q; want its answer, then the end", all[1:])
			}
		}
	})
}

// reasonOfSecondConnect: the contract does not say what a second connect gets, only that errors have a reason.
func (w *rawConn) reasonOfSecondConnect(t *testing.T) string {
	t.Helper()
	f := w.call(t, "connect", client.Object{})
	var e struct{ Error struct{ Data client.Error } }
	if err := json.Unmarshal([]byte(f), &e); err != nil || e.Error.Data.Reason == "" {
		t.Errorf("a second connect = %s; want an error with a reason", f)
	}
	return e.Error.Data.Reason
}

// More than 100 conversations come in pages, newest activity first.
func TestContractConnectPages(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	var groups []string
	for range 104 {
		groups = append(groups, "g~"+s.group(t, ann))
	}
	s.say(t, ann, "toUserId", bob.ID, "hi")
	s.say(t, ann, "conversationId", groups[7], "newest")
	type list struct {
		SyncToken, NextPageToken string
		Conversations            []struct {
			ConversationID string
			Head           struct{ SentAt time.Time }
		}
	}
	var first, second list
	w, f := s.line(t, ann, "")
	if err := json.Unmarshal(result(t, f), &first); err != nil {
		t.Fatal(err)
	}
	if n := len(first.Conversations); n != 100 || first.NextPageToken == "" || first.Conversations[0].ConversationID != groups[7] || first.Conversations[1].ConversationID != direct(ann, bob) {
		t.Fatalf("connect with 105 conversations = %d of them, token %q, first %v; want 100 and a page token, newest first", n, first.NextPageToken, first.Conversations[0])
	}
	f = w.call(t, "query.sync", client.Object{"syncToken": "", "pageToken": first.NextPageToken})
	if err := json.Unmarshal(result(t, f), &second); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	last := time.Now().Add(time.Hour)
	for _, c := range append(first.Conversations, second.Conversations...) {
		if seen[c.ConversationID] || c.Head.SentAt.After(last) {
			t.Errorf("%s at %v comes twice or out of order", c.ConversationID, c.Head.SentAt)
		}
		seen[c.ConversationID], last = true, c.Head.SentAt
	}
	if len(seen) != 105 || second.NextPageToken != "" || second.SyncToken == "" {
		t.Errorf("both pages hold %d conversations, then token %q, syncToken %q; want 105 and the end", len(seen), second.NextPageToken, second.SyncToken)
	}
	t.Run("list", func(t *testing.T) {
		seen, token, pages := map[string]bool{}, "", 0
		for {
			var got list
			s.ok(t, ann, "GET", "/conversations?pageSize=40&pageToken="+token, nil, &got)
			for _, c := range got.Conversations {
				seen[c.ConversationID] = true
			}
			pages++
			if token = got.NextPageToken; token == "" || pages > 5 {
				break
			}
			if len(got.Conversations) != 40 {
				t.Errorf("page %d holds %d; want 40", pages, len(got.Conversations))
			}
		}
		if len(seen) != 105 || pages != 3 {
			t.Errorf("%d conversations on %d pages; want 105 on 3", len(seen), pages)
		}
		for size, want := range map[string]int{"": 50, "?pageSize=1000": 100, "?pageSize=1": 1} {
			var got list
			s.ok(t, ann, "GET", "/conversations"+size, nil, &got)
			if len(got.Conversations) != want {
				t.Errorf("page %q holds %d; want %d", size, len(got.Conversations), want)
			}
		}
	})
}

// "No push comes before the answer to connect; what is committed after its syncToken is pushed on this connection.".
func TestContractConnectWhileSending(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	s.say(t, ann, "toUserId", bob.ID, "m0")
	stop, done := make(chan struct{}), make(chan uint64)
	go func() {
		var last uint64
		for i := 1; ; i++ {
			select {
			case <-stop:
				done <- last
				return
			default:
			}
			a := s.rest(t, ann, "POST", "/messages", client.Object{"clientMsgId": fmt.Sprint("m", i), "toUserId": bob.ID, "text": client.Object{"text": "x"}})
			var got sent
			_ = json.Unmarshal(a.raw, &got)
			last = got.Seq
		}
	}()
	type connected struct {
		w    *rawConn
		head uint64
	}
	var lines []connected
	for i := range 9 {
		d := s.device(t, bob, fmt.Sprint("d", i), "ios")
		w, f := s.line(t, d, "")
		var got struct {
			Conversations []struct{ Head struct{ Seq uint64 } }
		}
		if err := json.Unmarshal(result(t, f), &got); err != nil || len(got.Conversations) != 1 {
			t.Fatalf("connect = %s, %v", f, err)
		}
		if all := w.all(); !strings.Contains(all[0], `"id":1001`) {
			t.Errorf("the first frame is %s; want the answer to connect", all[0])
		}
		lines = append(lines, connected{w, got.Conversations[0].Head.Seq})
	}
	close(stop)
	last := <-done
	for i, l := range lines {
		l.w.await(t, `"method":"entry"`, fmt.Sprintf(`"seq":%d,`, last))
		have, n := map[uint64]bool{}, uint64(0)
		for _, f := range l.w.all()[1:] {
			var p struct {
				Params struct {
					N     uint64
					Entry client.Entry
				}
			}
			if err := json.Unmarshal([]byte(f), &p); err != nil || !strings.HasPrefix(f, `{"jsonrpc":"2.0","method":"entry"`) {
				continue
			}
			if n++; p.Params.N != n {
				t.Errorf("device %d: n = %d; want %d", i, p.Params.N, n)
			}
			have[p.Params.Entry.Seq] = true
		}
		for seq := l.head + 1; seq <= last; seq++ {
			if !have[seq] {
				t.Errorf("device %d: connect said head %d, and seq %d of %d never came", i, l.head, seq, last)
			}
		}
	}
}

// Requests, answers, ids, lanes.
func TestContractFrames(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	w, _ := s.line(t, ann, "")
	t.Run("shapes", func(t *testing.T) {
		wants(t, "ping", []byte(w.call(t, "ping", client.Object{})), `{"jsonrpc":"2.0","id":"$num","result":{},"$only":true}`)
		wants(t, "an error", []byte(w.call(t, "user.get", client.Object{"userId": "nobody"})),
			`{"jsonrpc":"2.0","id":"$num","error":{"code":5,"message":"$text","data":{"code":"NOT_FOUND","reason":"NOT_FOUND","message":"$text","fields":[],"retryAfterMs":0,"requestId":"$text","$only":true},"$only":true},"$only":true}`)
		wants(t, "getMe", []byte(w.call(t, "user.getMe", client.Object{})), `{"jsonrpc":"2.0","id":"$num","result":{"user":`+userShape+`,"$only":true},"$only":true}`)
	})
	t.Run("ids", func(t *testing.T) {
		for _, id := range []string{"0", "4294967295", `"a"`, `"` + strings.Repeat("é", 64) + `"`, `"1"`, `"q\"q"`} {
			w.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"ping"}`)
			w.await(t, `{"jsonrpc":"2.0","id":`+id+`,"result":`)
		}
	})
	t.Run("bad envelopes", func(t *testing.T) {
		for _, tt := range []struct {
			name, frame, id string
			code            int
		}{
			{"no jsonrpc", `{"id":50,"method":"ping"}`, "", -32600},
			{"jsonrpc 1.0", `{"jsonrpc":"1.0","id":51,"method":"ping"}`, "", -32600},
			{"no method", `{"jsonrpc":"2.0","id":52}`, "", -32600},
			{"method a number", `{"jsonrpc":"2.0","id":53,"method":7}`, "", -32600},
			{"a batch", `[{"jsonrpc":"2.0","id":54,"method":"ping"}]`, "null", -32600},
			{"a number", `7`, "null", -32600},
			{"id too large", `{"jsonrpc":"2.0","id":4294967296,"method":"ping"}`, "null", -32600},
			{"id negative", `{"jsonrpc":"2.0","id":-1,"method":"ping"}`, "null", -32600},
			{"id too long", `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 65) + `","method":"ping"}`, "null", -32600},
			{"not JSON", `{"jsonrpc":"2.0",`, "null", -32700},
			{"unknown method", `{"jsonrpc":"2.0","id":60,"method":"user.fly"}`, "60", -32601},
			{"no such service", `{"jsonrpc":"2.0","id":"s1","method":"fly"}`, `"s1"`, -32601},
			{"params an array", `{"jsonrpc":"2.0","id":61,"method":"user.getMe","params":[]}`, "61", -32602},
			{"params a text", `{"jsonrpc":"2.0","id":62,"method":"user.getMe","params":"x"}`, "62", -32602},
		} {
			t.Run(tt.name, func(t *testing.T) {
				w, _ := s.line(t, s.device(t, ann, "frames", "ios"), "")
				w.send(tt.frame)
				f := w.await(t, fmt.Sprintf(`"error":{"code":%d,`, tt.code))
				wants(t, "answer", []byte(f), fmt.Sprintf(`{"jsonrpc":"2.0","id":"$any","error":{"code":%d,"message":"$text","data":{"code":"$text","reason":"$text","message":"$text","fields":"$any","retryAfterMs":0,"requestId":"$text","$only":true},"$only":true},"$only":true}`, tt.code))
				if tt.id != "" && !strings.HasPrefix(f, `{"jsonrpc":"2.0","id":`+tt.id+`,`) {
					t.Errorf("answer = %s; want id %s", f, tt.id)
				}
				w.settled(t) // "the connection stays"
			})
		}
	})
	t.Run("the tenth bad frame", func(t *testing.T) {
		w, _ := s.line(t, s.device(t, ann, "bad", "ios"), "")
		for range 9 {
			w.send("{")
		}
		w.settled(t)
		w.send("[]")
		if code := w.closed(t); code != 4004 {
			t.Errorf("closed with %d; want 4004", code)
		}
		if n := w.count(`"code":-327`) + w.count(`"code":-326`); n != 10 {
			t.Errorf("%d answers to ten bad frames: %q; want 10", n, w.all())
		}
	})
	t.Run("no id, no answer", func(t *testing.T) {
		before := len(w.all())
		for _, m := range []string{"user.getMe", "user.fly", "user.get", "ping", "ack"} {
			w.send(`{"jsonrpc":"2.0","method":"` + m + `","params":{}}`)
		}
		w.settled(t)
		w.settled(t)
		if all := w.all()[before:]; len(all) != 4 {
			t.Errorf("frames without an id and four pings got %q; want four answers", all)
		}
	})
	t.Run("a request without an id is carried out", func(t *testing.T) {
		w.send(`{"jsonrpc":"2.0","method":"message.send","params":` + show(client.Object{"clientMsgId": "noid", "toUserId": bob.ID, "text": client.Object{"text": "x"}}) + `}`)
		w.await(t, `"method":"entry"`, `"clientMsgId":"noid"`)
	})
	t.Run("lanes", func(t *testing.T) {
		before := len(w.all())
		for i := range 60 {
			method, params := "message.send", client.Object{"clientMsgId": fmt.Sprint("lane", i), "toUserId": bob.ID, "text": client.Object{"text": "x"}}
			if i%4 != 0 {
				method, params = "query.listConversations", client.Object{}
			}
			w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"lane":%d,"method":"%s","params":%s}`, 5000+i, i%4, method, show(params)))
		}
		w.await(t, `"id":5059,`)
		w.await(t, `"id":5056,`)
		w.await(t, `"id":5057,`)
		w.await(t, `"id":5058,`)
		last, seqs := [4]int{}, uint64(0)
		for _, f := range w.all()[before:] {
			var a struct {
				ID     int
				Result sent
			}
			if err := json.Unmarshal([]byte(f), &a); err != nil || a.ID < 5000 {
				continue
			}
			lane := a.ID % 4
			if a.ID <= last[lane] {
				t.Errorf("in lane %d the answer to %d came after that to %d", lane, a.ID, last[lane])
			}
			last[lane] = a.ID
			if lane == 0 {
				if a.Result.Seq <= seqs {
					t.Errorf("message %d got seq %d after %d; want the order of sending", a.ID, a.Result.Seq, seqs)
				}
				seqs = a.Result.Seq
			}
		}
		f := func(lane string) string {
			w.next++
			w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"lane":%s,"method":"user.getMe"}`, w.next, lane))
			return w.await(t, fmt.Sprintf(`"id":%d,`, w.next))
		}
		for _, lane := range []string{"4", "-1"} {
			if a := f(lane); !strings.Contains(a, `"error"`) {
				t.Errorf("lane %s = %s; want an error", lane, a)
			}
		}
	})
	t.Run("ping does not wait", func(t *testing.T) {
		for i := range 60 {
			w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"message.send","params":%s}`, 6000+i, show(client.Object{"clientMsgId": fmt.Sprint("ping", i), "toUserId": bob.ID, "text": client.Object{"text": "x"}})))
		}
		w.send(`{"jsonrpc":"2.0","id":6100,"method":"ping"}`)
		w.await(t, `"id":6100,`)
		w.await(t, `"id":6059,`)
		for _, f := range w.all() {
			if strings.HasPrefix(f, `{"jsonrpc":"2.0","id":6059,`) {
				t.Error("the ping was answered after sixty sends before it; want at once")
			}
			if strings.HasPrefix(f, `{"jsonrpc":"2.0","id":6100,`) {
				break
			}
		}
	})
	t.Run("65 in flight", func(t *testing.T) {
		w, _ := s.line(t, s.device(t, ann, "flight", "ios"), "")
		var b bytes.Buffer
		for i := range 400 {
			frame := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"message.send","params":%s}`, i, show(client.Object{"clientMsgId": fmt.Sprint("fly", i), "toUserId": bob.ID, "text": client.Object{"text": "x"}}))
			if err := ws.WriteFrame(&b, ws.MaskFrameInPlace(ws.NewTextFrame([]byte(frame)))); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = w.Write(b.Bytes())
		if code := w.closed(t); code != 4008 {
			t.Errorf("closed with %d; want 4008", code)
		}
		wants(t, "disconnect", []byte(w.await(t, `"disconnect"`)), `{"params":{"code":4008,"reconnect":true}}`)
	})
}

// What a frame may be.
func TestContractFrameLimits(t *testing.T) {
	s := startContract(t, "--ws-gateway-heartbeat", "1s")
	ann := s.user("ann")
	frames := func(size int) string {
		const head, end = `{"jsonrpc":"2.0","id":9,"method":"ping","params":{"x":"`, `"}}`
		return head + strings.Repeat("x", size-len(head)-len(end)) + end
	}
	device := 0
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, w *rawConn)
		code int // 0: stays
	}{
		{"64 KiB", func(_ *testing.T, w *rawConn) { w.send(frames(64 << 10)) }, 0},
		{"one more", func(_ *testing.T, w *rawConn) { w.send(frames(64<<10 + 1)) }, 4004},
		{"fragments", func(t *testing.T, w *rawConn) { fragments(t, w, frames(32<<10), 100) }, 0},
		{"fragments, too large together", func(t *testing.T, w *rawConn) { fragments(t, w, frames(80<<10), 10) }, 4004},
		{"unmasked", func(t *testing.T, w *rawConn) {
			if err := ws.WriteFrame(w, ws.NewTextFrame([]byte(frames(100)))); err != nil {
				t.Fatal(err)
			}
		}, 4004},
		{"no UTF-8", func(_ *testing.T, w *rawConn) { w.send("{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"\xff\"}") }, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			device++
			w, _ := s.line(t, s.device(t, ann, fmt.Sprint("d", device), "ios"), "")
			tt.do(t, w)
			switch {
			case tt.code > 0:
				if code := w.closed(t); code != tt.code {
					t.Errorf("closed with %d; want %d", code, tt.code)
				}
			case tt.code == 0:
				w.await(t, `"id":9,"result"`)
			default: // either an error or an end, but nothing else
				eventually(t, "an answer", func() bool { return len(w.all()) > 1 || !open(w) })
				if w.count(`"result"`) > 1 {
					t.Errorf("text that is no UTF-8 = %q; want an error", w.all())
				}
			}
		})
	}
	t.Run("heartbeat", func(t *testing.T) {
		w, f := s.line(t, s.device(t, ann, "beats", "ios"), "")
		wants(t, "connect", []byte(f), `{"result":{"heartbeatSeconds":1}}`)
		ctx := within(t, 4*time.Second) // answers the server's pings and says nothing else
		<-ctx.Done()
		w.settled(t)
	})
	t.Run("silence", func(t *testing.T) {
		conn := silent(t, s, s.device(t, ann, "silent", "ios"))
		// Everything until the end; the last frame says why.
		_ = conn.SetReadDeadline(time.Now().Add(15 * time.Second))
		data, err := io.ReadAll(conn)
		if err != nil {
			t.Fatalf("the silent connection did not end: %v", err)
		}
		if !bytes.Contains(data, []byte(`"code":4007`)) {
			t.Errorf("the silent connection got %q; want a disconnect with 4007", data)
		}
	})
	t.Run("drain", func(t *testing.T) {
		w, _ := s.line(t, s.device(t, ann, "drain", "ios"), "")
		if code := s.stop(); code != 0 {
			t.Errorf("exit code = %d; want 0", code)
		}
		if code := w.closed(t); code != 4006 {
			t.Errorf("closed with %d; want 4006", code)
		}
		wants(t, "disconnect", []byte(w.await(t, `"disconnect"`)), `{"jsonrpc":"2.0","method":"disconnect","params":{"code":4006,"reason":"$any","reconnect":true,"retryAfterMs":"$num"}}`)
	})
}

// silent connects u on a socket that answers no ping.
func silent(t *testing.T, s *server, u *client.User) net.Conn {
	t.Helper()
	conn, _, _, err := ws.Dial(within(t, 10*time.Second), "ws"+strings.TrimPrefix(s.base, "http")+"/ws")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	frame := `{"jsonrpc":"2.0","id":1,"method":"connect","params":` + show(connectParams(u, "")) + `}`
	if err := ws.WriteFrame(conn, ws.MaskFrameInPlace(ws.NewTextFrame([]byte(frame)))); err != nil {
		t.Fatal(err)
	}
	return conn
}

func open(w *rawConn) bool {
	select {
	case <-w.ended:
		return false
	default:
		return true
	}
}

// fragments writes one text message in pieces.
func fragments(t *testing.T, w *rawConn, message string, pieces int) {
	t.Helper()
	var b bytes.Buffer
	size := len(message)/pieces + 1
	for at, op := 0, ws.OpText; at < len(message); at, op = at+size, ws.OpContinuation {
		end := min(at+size, len(message))
		f := ws.NewFrame(op, end == len(message), []byte(message[at:end]))
		if err := ws.WriteFrame(&b, ws.MaskFrameInPlace(f)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = w.Write(b.Bytes())
}
