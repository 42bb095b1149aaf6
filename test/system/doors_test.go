package system

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/test/client"
)

// transcript is what a walk saw, with everything taken out that differs from user to user.
type transcript struct {
	words []string // pairs of what is replaced and by what
	lines []string
}

var volatile = []struct {
	form *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*Z"`), `"time"`},
	{regexp.MustCompile(`"(messageId|replyTo)":"[0-9a-v]{13}([0-9a-v]+)"`), `"$1":"random-$2"`},
	{regexp.MustCompile(`"(connectionId|syncToken|requestId|sessionId)":"[^"]+"`), `"$1":"…"`},
}

func (tr *transcript) add(what, got string) {
	got = strings.NewReplacer(tr.words...).Replace(got)
	for _, v := range volatile {
		got = v.form.ReplaceAllString(got, v.with)
	}
	tr.lines = append(tr.lines, what+": "+got)
}

// direct returns the id of the conversation of two users.
func directOf(a, b *client.User) string {
	if b.ID < a.ID {
		a, b = b, a
	}
	return "d~" + a.ID + "~" + b.ID
}

// walk does with two users, both at this door, what clients do.
func walk(t *testing.T, s *server, d door, nth string) []string {
	ann, bob := s.member(t, "ann"+nth), s.member(t, "bob"+nth)
	conv := directOf(ann, bob)
	tr := &transcript{words: []string{conv, "CONV", ann.ID, "ANN", bob.ID, "BOB", ann.Username, "ann", bob.Username, "bob", ann.Device, "dev-ann"}}

	a, b := dialDoor(t, s, d), dialDoor(t, s, d)
	tr.add("connect", a.connectAs(ann))
	tr.add("bob connects", b.connectAs(bob))
	tr.add("second connect", a.connectAs(ann))
	sent := a.call("message.send", fmt.Sprintf(`{"clientMsgId":"m1","toUserId":%q,"text":{"text":"hi @bob 🌊 \u0000\n","mentions":[{"userId":%q,"offset":3,"length":4}]}}`, bob.ID, bob.ID))
	tr.add("send", sent)
	tr.add("the same again", a.call("message.send", fmt.Sprintf(`{"clientMsgId":"m1","toUserId":%q,"resend":true,"text":{"text":"hi @bob 🌊 \u0000\n","mentions":[{"userId":%q,"offset":3,"length":4}]}}`, bob.ID, bob.ID)))
	tr.add("the same id for something else", a.call("message.send", fmt.Sprintf(`{"clientMsgId":"m1","toUserId":%q,"text":{"text":"other"}}`, bob.ID)))
	tr.add("bob's push", b.await("entry"))
	tr.add("ann's own push", a.await("entry"))
	b.request("ack", `{"n":1}`, 0)

	var first struct{ MessageID string }
	_ = json.Unmarshal([]byte(sent), &first)
	tr.add("answer", b.call("message.send", fmt.Sprintf(`{"clientMsgId":"m2","conversationId":%q,"text":{"text":"yes"},"replyTo":%q}`, conv, first.MessageID)))
	tr.add("ann's push", a.await("entry"))
	tr.add("mark read", a.call("message.markRead", fmt.Sprintf(`{"conversationId":%q,"seq":2}`, conv)))
	tr.add("bob's receipt", b.await("receipt"))
	a.request("message.typing", fmt.Sprintf(`{"conversationId":%q}`, conv), 0)
	tr.add("typing", a.call("message.typing", fmt.Sprintf(`{"conversationId":%q}`, conv)))
	tr.add("bob sees it", b.await("typing"))

	for i, c := range []struct{ method, params string }{
		{"query.history", `{"conversationId":"CONV"}`},
		{"query.history", `{"conversationId":"CONV","afterSeq":0,"limit":1}`},
		{"query.history", `{"conversationId":"CONV","afterSeq":1,"beforeSeq":2}`},
		{"query.history", `{"conversationId":"CONV","limit":0}`},
		{"query.entries", `{"conversationId":"CONV","afterSeq":1}`},
		{"query.sync", `{}`},
		{"query.sync", `{"syncToken":"!"}`},
		{"query.listConversations", `{}`},
		{"query.getConversation", `{"conversationId":"CONV"}`},
		{"query.getConversation", `{"conversationId":"g~nobody"}`},
		{"user.getMe", `{}`},
		{"user.updateMe", `{"bio":"x","avatar":"y"}`},
		{"user.updateMe", `{"bio":null}`},
		{"user.getSettings", `{}`},
		{"user.search", `{"query":"nobody-is-called-so"}`},
		{"presence.get", `{"userIds":["` + bob.ID + `"]}`},
		{"message.send", `{"clientMsgId":"m 3","toUserId":"` + ann.ID + `","text":{"text":""}}`},
		{"message.markRead", `{"conversationId":"CONV","seq":1}`},
		{"auth.login", `{"username":"x"}`},
		{"no.such", `{}`},
		{"ping", `{}`},
		{"ack", `{"n":99}`},
	} {
		tr.add(fmt.Sprint(i, " ", c.method), a.call(c.method, strings.ReplaceAll(c.params, "CONV", conv)))
	}
	tr.add("auth.logout", a.call("auth.logout", `{}`))
	bye, _ := a.closed()
	tr.add("disconnect", bye)
	return tr.lines
}

// WSGW-1: the same walk at every door, with and without TLS, sees the same answers and the same pushes.
func TestDoorsAgree(t *testing.T) {
	var want []string
	for _, encrypted := range []bool{false, true} {
		s := startDoors(t, encrypted)
		for i, d := range doors {
			name := d.name + map[bool]string{false: "", true: " over TLS"}[encrypted]
			got := walk(t, s, d, fmt.Sprint(i))
			if want == nil {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s differs from json, -json +%s:\n%s", name, name, diff)
			}
		}
	}
}

// What breaks a connection breaks it the same way at every door, and no other one. Invariant 8.
func TestDoorsRefuse(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[encrypted], func(t *testing.T) {
			t.Parallel()
			s := startDoors(t, encrypted)
			var silent []*line
			for _, d := range doors {
				silent = append(silent, dialDoor(t, s, d))
			}
			for i, d := range doors {
				t.Run(d.name, func(t *testing.T) { refuse(t, s, d, fmt.Sprint(i)) })
			}
			for _, l := range silent {
				l.wantClosed(4001) // 5 s after it came
			}
		})
	}
}

func refuse(t *testing.T, s *server, d door, nth string) {
	broken := []byte("nonsense")
	if d.name != "json" {
		broken = []byte{0xff, 0xff}
	}
	cid := s.member(t, "cid"+nth)
	bystander := dialDoor(t, s, d)
	bystander.connectAs(s.member(t, "dan"+nth))

	t.Run("too large before connect", func(t *testing.T) {
		l := dialDoor(t, s, d)
		l.raw(l.head(4<<10 + 1))
		l.wantClosed(4004)
	})
	t.Run("broken before connect", func(t *testing.T) {
		l := dialDoor(t, s, d)
		l.packet(broken)
		l.wantClosed(4004, "MALFORMED")
	})
	t.Run("another method first", func(t *testing.T) {
		l := dialDoor(t, s, d)
		l.request("user.getMe", "{}", 1)
		l.wantClosed(4001, "TOKEN_MISSING")
	})
	t.Run("a token that is none", func(t *testing.T) {
		l := dialDoor(t, s, d)
		l.request("connect", `{"token":"x","deviceId":"d","platform":"web"}`, 1)
		l.wantClosed(4001, "TOKEN_INVALID")
	})
	t.Run("too large", func(t *testing.T) {
		l := dialDoor(t, s, d)
		l.connectAs(cid)
		l.raw(l.head(64<<10 + 1))
		l.wantClosed(4004)
	})
	t.Run("as large as may be", func(t *testing.T) {
		l := dialDoor(t, s, d)
		l.connectAs(cid)
		l.packet(append(bytes.Repeat([]byte{'x'}, 64<<10-len(broken)), broken...))
		if r, err := l.frame(); err != nil || r == nil || r.err.GetReason() != "MALFORMED" {
			t.Fatalf("64 KiB of nonsense = %v, %v; want MALFORMED", r, err)
		}
		if got := l.call("ping", "{}"); got != "{}" {
			t.Errorf("ping afterwards = %s; want its answer", got)
		}
	})
	t.Run("the tenth broken frame", func(t *testing.T) {
		l := dialDoor(t, s, d)
		l.connectAs(cid)
		for range 9 {
			l.packet(broken)
		}
		if got := l.callAfter(9, "MALFORMED"); got != "{}" {
			t.Fatalf("ping after nine broken frames = %s; want its answer", got)
		}
		l.packet(broken)
		l.wantClosed(4004, "MALFORMED")
	})
	t.Run("the same device twice", func(t *testing.T) {
		first, second := dialDoor(t, s, d), dialDoor(t, s, d)
		first.connectAs(cid)
		second.connectAs(cid)
		first.wantClosed(4003)
	})
	if d.subprotocol != "" {
		refuseWebSocket(t, s, d)
	}
	if got := bystander.call("ping", "{}"); got != "{}" {
		t.Errorf("ping of a bystander = %s; want its answer", got)
	}
}

// callAfter reads n answers with an error of that reason, then calls ping.
func (l *line) callAfter(n int, reason string) string {
	l.t.Helper()
	for range n {
		if r, err := l.frame(); err != nil || r == nil || r.err.GetReason() != reason {
			l.t.Fatalf("answer = %v, %v; want %s", r, err, reason)
		}
	}
	return l.call("ping", "{}")
}

func refuseWebSocket(t *testing.T, s *server, d door) {
	for name, frame := range map[string]ws.Frame{
		"unmasked":                  ws.NewFrame(d.data, true, []byte("{}")),
		"of the other subprotocol":  ws.MaskFrame(ws.NewFrame(3-d.data, true, []byte("{}"))),
		"of a reserved type":        ws.MaskFrame(ws.NewFrame(5, true, nil)),
		"a continuation of nothing": ws.MaskFrame(ws.NewFrame(ws.OpContinuation, true, []byte("{}"))),
	} {
		t.Run(name, func(t *testing.T) {
			l := dialDoor(t, s, d)
			l.raw(ws.MustCompileFrame(frame))
			l.wantClosed(4004)
		})
	}
	for offer, want := range map[string]int{"": 101, "oceanchat.xml": 400, "oceanchat.xml, " + d.subprotocol: 101} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.base+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		if offer != "" {
			req.Header.Set("Sec-WebSocket-Protocol", offer)
		}
		// Not HTTP/2: browsers, too, ask for HTTP/1.1 when they want a WebSocket.
		web := &http.Client{Timeout: patienceOfLines, Transport: &http.Transport{TLSClientConfig: s.tls, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatalf("offer %q: %v", offer, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("offer %q = %d; want %d", offer, resp.StatusCode, want)
		}
	}
}

// Who answers pings stays; who does not is let go of after two heartbeats. On TCP the ping is a push.
func TestDoorsHeartbeat(t *testing.T) {
	s := startDoors(t, false, "--ws-gateway-heartbeat", "2s")
	for i, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			alive, dead := dialDoor(t, s, d), dialDoor(t, s, d)
			dead.deaf = true
			alive.connectAs(s.member(t, fmt.Sprint("eve", i)))
			dead.connectAs(s.member(t, fmt.Sprint("fay", i)))
			gone := make(chan string, 1)
			go func() {
				params, _ := dead.closed()
				gone <- params
			}()
			for range 3 { // longer than two heartbeats
				alive.await("ping")
			}
			if got := alive.call("user.getMe", "{}"); strings.HasPrefix(got, "error") {
				t.Errorf("user.getMe after three pings = %s; want a result", got)
			}
			if got := <-gone; !strings.HasPrefix(got, `{"code":4007,`) {
				t.Errorf("the deaf one got %s; want 4007", got)
			}
		})
	}
}

// A new certificate is taken without a restart: connections of before live on, new ones see the new one, at every port.
func TestDoorsNewCertificate(t *testing.T) {
	s := startDoors(t, true)
	dir := filepath.Dir(s.flags[len(s.flags)-1])
	gil := s.member(t, "gil")
	var before []*line
	for _, d := range doors {
		l := dialDoor(t, s, d)
		u := *gil
		u.Device = "dev-" + d.name
		if err := u.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := l.connectAs(&u); strings.HasPrefix(got, "error") {
			t.Fatalf("connect = %s", got)
		}
		before = append(before, l)
	}
	resp, err := s.web().Get(s.base + "/openapi.json")
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("GET over TLS = %v, %v; want HTTP/2", resp, err)
	}
	_ = resp.Body.Close()

	_, s.tls = certify(t, dir) // over the old files
	for _, addr := range []string{strings.TrimPrefix(s.base, "https://"), s.tcp, strings.TrimPrefix(s.ops, "https://")} {
		eventually(t, "the new certificate at "+addr, func() bool {
			c, err := tls.Dial("tcp", addr, s.tls)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	for _, l := range before {
		if got := l.call("ping", "{}"); got != "{}" {
			t.Errorf("%s: ping on a connection of before = %s; want its answer", l.door.name, got)
		}
	}
}

// Behind a proxy that is trusted, limits count the client that it names; what anybody else says does not count.
func TestDoorsBehindProxy(t *testing.T) {
	s := startDoors(t, false, "--http-proxy-protocol", "--tcp-proxy-protocol", "--trusted-proxies", "127.0.0.0/8,10.0.0.0/8", "--ws-gateway-unauthenticated-per-ip", "1")
	web := strings.TrimPrefix(s.base, "http://")
	ask := func(text string) string {
		nc, err := net.Dial("tcp", web)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(patienceOfLines))
		_, _ = io.WriteString(nc, text)
		got, _ := io.ReadAll(nc)
		return string(got)
	}
	const get = "GET /docs HTTP/1.0\r\n"
	for name, tt := range map[string]struct{ in, status, logged string }{
		"a proxy and its client":         {"PROXY TCP4 9.9.9.1 127.0.0.1 1 2\r\n" + get + "\r\n", "200", "remote_addr=9.9.9.1"},
		"a client that forges":           {"PROXY TCP4 9.9.9.2 127.0.0.1 1 2\r\n" + get + "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n", "200", "remote_addr=9.9.9.2"},
		"two proxies, one after another": {"PROXY TCP4 10.0.0.7 127.0.0.1 1 2\r\n" + get + "X-Forwarded-For: 6.6.6.6, 9.9.9.3\r\n\r\n", "200", "remote_addr=9.9.9.3"},
		"no header":                      {get + "\r\n", "", ""},
	} {
		got := ask(tt.in)
		if !strings.Contains(got, tt.status) || tt.status == "" && got != "" {
			t.Errorf("%s = %.100q; want %q", name, got, tt.status)
		}
		eventually(t, name+" is logged", func() bool { return strings.Contains(s.output(), tt.logged) })
	}
	if strings.Contains(s.output(), "6.6.6.6") {
		t.Error("the log has the address that a client made up")
	}
	tcp := func(from string) *line {
		nc, err := net.Dial("tcp", s.tcp)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(patienceOfLines))
		_, _ = io.WriteString(nc, "PROXY TCP4 "+from+" 127.0.0.1 1 2\r\n")
		return &line{t: t, door: doors[2], nc: nc, r: bufio.NewReader(nc)}
	}
	first := tcp("9.9.9.4")
	eventually(t, "the first is there", func() bool { return s.metric("oceanchat_ws_gateway_connections") == 1 })
	tcp("9.9.9.4").wantClosed(4008)
	other := tcp("9.9.9.5")
	other.request("user.getMe", "{}", 1)
	other.wantClosed(4001, "TOKEN_MISSING")
	_ = first.nc.Close()
}

// Numbers and values that one form can carry and another can hardly say are answered alike, and never as our own fault.
func TestDoorsExtremes(t *testing.T) {
	s := startDoors(t, false)
	ann, bob := s.member(t, "ann"), s.member(t, "bob")
	conv := directOf(ann, bob)
	const most, sign = "18446744073709551615", "9223372036854775808"
	var want []string
	for i, d := range doors {
		l := dialDoor(t, s, d)
		l.connectAs(ann)
		if i == 0 {
			l.call("message.send", fmt.Sprintf(`{"clientMsgId":"m1","toUserId":%q,"text":{"text":"one"}}`, bob.ID))
		}
		tr := &transcript{words: []string{conv, "CONV", ann.ID, "ANN", bob.ID, "BOB"}}
		for _, n := range []string{most, sign, "9007199254740993"} {
			for _, params := range []string{`"afterSeq":` + n, `"beforeSeq":` + n, `"aroundSeq":` + n} {
				tr.add("history "+params, l.call("query.history", fmt.Sprintf(`{"conversationId":%q,%s}`, conv, params)))
			}
			tr.add("entries "+n, l.call("query.entries", fmt.Sprintf(`{"conversationId":%q,"afterSeq":%s}`, conv, n)))
			tr.add("markRead "+n, l.call("message.markRead", fmt.Sprintf(`{"conversationId":%q,"seq":%s}`, conv, n)))
			tr.add("ack "+n, l.call("ack", `{"n":`+n+`}`))
		}
		tr.add("limit below zero", l.call("query.history", fmt.Sprintf(`{"conversationId":%q,"limit":-2147483648}`, conv)))
		tr.add("limit above all", l.call("query.history", fmt.Sprintf(`{"conversationId":%q,"limit":2147483647}`, conv)))
		tr.add("the first time", l.call("query.history", fmt.Sprintf(`{"conversationId":%q,"atTime":"0001-01-01T00:00:00Z"}`, conv)))
		tr.add("the last time", l.call("query.history", fmt.Sprintf(`{"conversationId":%q,"atTime":"9999-12-31T23:59:59.999Z"}`, conv)))
		tr.add("a conversation that is none", l.call("query.history", `{"conversationId":"d~\u0000~%"}`))
		for _, line := range tr.lines {
			if strings.Contains(line, "INTERNAL") || strings.Contains(line, "UNAVAILABLE") {
				t.Errorf("%s: %s; want an answer or a refusal", d.name, line)
			}
		}
		if want == nil {
			want = tr.lines
		}
		if diff := cmp.Diff(want, tr.lines); diff != "" {
			t.Errorf("%s differs from json, -json +%s:\n%s", d.name, d.name, diff)
		}
	}
}

// A page of the largest messages there can be still fits into a frame, as "frames from the server have at most 4 MiB".
func TestDoorsLargestPage(t *testing.T) {
	s := startDoors(t, false)
	ann, bob := s.member(t, "ann"), s.member(t, "bob")
	l := dialDoor(t, s, doors[0])
	l.connectAs(ann)
	mention := fmt.Sprintf(`{"userId":%q,"offset":4999,"length":1}`, strings.Repeat("u", 64))
	text := fmt.Sprintf(`{"text":%q,"mentions":[%s]}`, strings.Repeat("?", 5000), strings.Repeat(mention+",", 99)+mention)
	text = strings.ReplaceAll(text, "?", `\u0001`) // six bytes each, in the answer too
	for i := range 100 {
		got := l.call("message.send", fmt.Sprintf(`{"clientMsgId":"m%d%s","toUserId":%q,"text":%s}`, i, strings.Repeat("-", 60), bob.ID, text))
		if strings.HasPrefix(got, "error") {
			t.Fatalf("send = %s; want a result", got)
		}
		l.await("entry")
	}
	var page struct{ Entries []struct{ Seq uint64 } }
	got := l.call("query.history", fmt.Sprintf(`{"conversationId":%q,"limit":100}`, directOf(ann, bob)))
	if err := json.Unmarshal([]byte(got), &page); err != nil || len(page.Entries) == 0 || page.Entries[len(page.Entries)-1].Seq != 100 {
		t.Fatalf("the page has %d entries, %v; want up to the last one", len(page.Entries), err)
	}
	t.Logf("%d entries in %d bytes", len(page.Entries), l.length)
	if l.length > 4<<20 {
		t.Errorf("a frame of %d bytes; want at most 4 MiB", l.length)
	}
}
