package message_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// MSG-2, MSG-3: what is sent is what the log has, and the answer says where.
func TestSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann", "bob")
	reply := string(chat.NewMessageID(7, 3))
	for _, tt := range []struct {
		name string
		req  *messagev1.SendRequest
		want string
	}{
		{"to a user", &messagev1.SendRequest{ClientMsgId: "a", ToUserId: "bob"}, "d~ann~bob"},
		{"to a group", &messagev1.SendRequest{ClientMsgId: "a", GroupId: "team"}, "g~team"},
		{"to a direct conversation", &messagev1.SendRequest{ClientMsgId: "b", ConversationId: "d~ann~bob"}, "d~ann~bob"},
		{"to a group conversation", &messagev1.SendRequest{ClientMsgId: "b", ConversationId: "g~team", ReplyTo: &reply}, "g~team"},
		{"no reply", &messagev1.SendRequest{ClientMsgId: "c", ConversationId: "g~team", ReplyTo: new(string)}, "g~team"},
	} {
		tt.req.Text = &messagev1.Text{Text: "hi 🐋 @bob", Mentions: []*messagev1.Mention{{UserId: "bob", Offset: 5, Length: 4}}}
		r, err := w.pub.Send(w.as("ann"), tt.req)
		if err != nil || r.GetConversationId() != tt.want {
			t.Fatalf("%s: Send = %v, %v; want one in %s", tt.name, r, err, tt.want)
		}
		want := &messagev1.Entry{
			ConversationId: tt.want, Seq: r.GetSeq(), Ordinal: r.GetOrdinal(), MessageId: r.GetMessageId(), SentAt: r.GetSentAt(),
			ClientMsgId: tt.req.GetClientMsgId(), SenderId: "ann", Kind: messagev1.EntryKind_ENTRY_KIND_TEXT,
			Body: &messagev1.Entry_Text{Text: tt.req.GetText()},
		}
		if tt.req.GetReplyTo() != "" {
			want.ReplyTo = tt.req.ReplyTo
		}
		if d := cmp.Diff(want, w.entry(tt.want, r.GetSeq()), protocmp.Transform()); d != "" {
			t.Errorf("%s: the log's entry (-want +got):\n%s", tt.name, d)
		}
		if seq, ok := chat.MessageID(r.GetMessageId()).Seq(); !ok || seq != r.GetSeq() {
			t.Errorf("%s: messageId %s carries seq %d; want %d", tt.name, r.GetMessageId(), seq, r.GetSeq())
		}
	}
}

// Invariant 8: bad input names every field that is wrong, and leaves nothing in the log.
func TestSendBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--max-mentions=2")
	w.groups.add("team", "ann")
	mention := func(m ...*messagev1.Mention) *messagev1.Text { return &messagev1.Text{Text: "🐋bcd", Mentions: m} }
	bob := func(offset, length uint32) *messagev1.Mention {
		return &messagev1.Mention{UserId: "bob", Offset: offset, Length: length}
	}
	p := func(s string) *string { return &s }
	const target = "toUserId"
	for _, tt := range []struct {
		name   string
		change func(*messagev1.SendRequest)
		want   []string
	}{
		{"no clientMsgId", func(r *messagev1.SendRequest) { r.ClientMsgId = "" }, []string{"clientMsgId"}},
		{"long clientMsgId", func(r *messagev1.SendRequest) { r.ClientMsgId = strings.Repeat("x", 65) }, []string{"clientMsgId"}},
		{"wild clientMsgId", func(r *messagev1.SendRequest) { r.ClientMsgId = "a.b" }, []string{"clientMsgId"}},
		{"no target", func(r *messagev1.SendRequest) { r.ToUserId = "" }, []string{target}},
		{"user and group", func(r *messagev1.SendRequest) { r.GroupId = "team" }, []string{target}},
		{"user and conversation", func(r *messagev1.SendRequest) { r.ConversationId = "d~ann~bob" }, []string{target}},
		{"three targets", func(r *messagev1.SendRequest) { r.GroupId, r.ConversationId = "team", "g~team" }, []string{target}},
		{"oneself", func(r *messagev1.SendRequest) { r.ToUserId = "ann" }, []string{target}},
		{"wild user", func(r *messagev1.SendRequest) { r.ToUserId = ">" }, []string{"toUserId"}},
		{"user with a tilde", func(r *messagev1.SendRequest) { r.ToUserId = "a~b" }, []string{"toUserId"}},
		{"wild group", func(r *messagev1.SendRequest) { r.ToUserId, r.GroupId = "", "te am" }, []string{"groupId"}},
		{"no conversation id", func(r *messagev1.SendRequest) { r.ToUserId, r.ConversationId = "", "team" }, []string{"conversationId"}},
		{"ends in wrong order", func(r *messagev1.SendRequest) { r.ToUserId, r.ConversationId = "", "d~bob~ann" }, []string{"conversationId"}},
		{"conversation with oneself", func(r *messagev1.SendRequest) { r.ToUserId, r.ConversationId = "", "d~ann~ann" }, []string{"conversationId"}},
		{"no text", func(r *messagev1.SendRequest) { r.Text = nil }, []string{"text.text"}},
		{"empty text", func(r *messagev1.SendRequest) { r.Text.Text = "" }, []string{"text.text"}},
		{"long text", func(r *messagev1.SendRequest) { r.Text.Text = strings.Repeat("🐋", 5001) }, []string{"text.text"}},
		{"replyTo no id", func(r *messagev1.SendRequest) { r.ReplyTo = p("seven") }, []string{"replyTo"}},
		{"replyTo seq 0", func(r *messagev1.SendRequest) { r.ReplyTo = p("00000000000000") }, []string{"replyTo"}},
		{"mention of no id", func(r *messagev1.SendRequest) { r.Text = mention(&messagev1.Mention{UserId: "*", Length: 1}) }, []string{"text.mentions[0].userId"}},
		{"mention of length 0", func(r *messagev1.SendRequest) { r.Text = mention(bob(1, 1), bob(1, 0)) }, []string{"text.mentions[1]"}},
		{"mention beyond the text", func(r *messagev1.SendRequest) { r.Text = mention(bob(2, 3)) }, []string{"text.mentions[0]"}},
		{"mention that overflows", func(r *messagev1.SendRequest) { r.Text = mention(bob(1<<32-1, 2)) }, []string{"text.mentions[0]"}},
		{"too many mentions", func(r *messagev1.SendRequest) { r.Text = mention(bob(0, 1), bob(0, 1), bob(0, 1)) }, []string{"text.mentions"}},
		{"all at once", func(r *messagev1.SendRequest) {
			r.ClientMsgId, r.ReplyTo, r.Text, r.GroupId = "", p("x"), mention(&messagev1.Mention{}), "team"
		}, []string{"clientMsgId", "replyTo", "text.mentions[0].userId", "text.mentions[0]", target}},
	} {
		req := &messagev1.SendRequest{ClientMsgId: "m1", ToUserId: "bob", Text: &messagev1.Text{Text: "hi"}}
		tt.change(req)
		_, err := w.pub.Send(w.as("ann"), req)
		wantReason(t, tt.name+": Send", err, fault.InvalidFieldReason)
		if got := fields(err); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Send names %q; want %q", tt.name, got, tt.want)
		}
	}
	for _, ok := range []*messagev1.Text{{Text: strings.Repeat("🐋", 5000)}, {Text: " "}, mention(bob(0, 4), bob(3, 1))} {
		if _, err := w.pub.Send(w.as("ann"), &messagev1.SendRequest{ClientMsgId: "m1", ToUserId: "bob", Text: ok, Resend: true}); err != nil && !fault.IsReason(err, fault.ClientMsgIDReused) {
			t.Errorf("Send of a text at the bounds = %v; want nil", err)
		}
	}
	if info, err := w.stream.Info(t.Context()); err != nil || info.Last != 1 {
		t.Errorf("the log has %d batches, %v; want the first good one", info.Last, err)
	}
}

// MSG-1: user decides on direct chats, group on groups; what is not there answers NOT_FOUND.
func TestSendRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "bob")
	w.groups.add("old", "ann")
	w.groups.edit("old", func(g *team) { g.members["ann"].Visible[0].To = 3 })
	w.users.block("cid", "ann")
	for _, tt := range []struct {
		name string
		req  *messagev1.SendRequest
		want fault.Reason
		msg  string // for the developer; any if empty
	}{
		{"unknown user", &messagev1.SendRequest{ToUserId: "nobody"}, fault.NotFoundReason, "no such user: nobody"},
		{"unknown user by conversation", &messagev1.SendRequest{ConversationId: "d~ann~nobody"}, fault.NotFoundReason, "no such conversation"},
		{"who blocks me", &messagev1.SendRequest{ToUserId: "cid"}, fault.NotAllowed, ""},
		{"other people's chat", &messagev1.SendRequest{ConversationId: "d~bob~cid"}, fault.NotFoundReason, "no such conversation"},
		{"no group", &messagev1.SendRequest{GroupId: "none"}, fault.NotFoundReason, "no such group: none"},
		{"other people's group", &messagev1.SendRequest{GroupId: "team"}, fault.NotFoundReason, "no such group: team"},
		{"other people's group by conversation", &messagev1.SendRequest{ConversationId: "g~team"}, fault.NotFoundReason, "no such conversation"},
		{"group that I left", &messagev1.SendRequest{GroupId: "old"}, fault.NotMember, ""},
		{"my inbox", &messagev1.SendRequest{ConversationId: "i~ann"}, fault.NotFoundReason, "no such conversation"},
		{"another inbox", &messagev1.SendRequest{ConversationId: "i~bob"}, fault.NotFoundReason, "no such conversation"},
	} {
		tt.req.ClientMsgId, tt.req.Text = "m1", &messagev1.Text{Text: "hi"}
		_, err := w.pub.Send(w.as("ann"), tt.req)
		wantReason(t, tt.name+": Send", err, tt.want)
		if got := fault.Of(err); tt.msg != "" && (got == nil || got.Msg != tt.msg) {
			t.Errorf("%s: Send = %v; want the message %q", tt.name, err, tt.msg)
		}
	}
	if info, err := w.stream.Info(t.Context()); err != nil || info.Last != 0 {
		t.Errorf("the log has %d batches, %v; want none", info.Last, err)
	}
}

// Invariant 3.
func TestSendRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := &messagev1.SendRequest{ClientMsgId: "m1", ToUserId: "bob", Text: &messagev1.Text{Text: "hi"}}
	first, err := w.pub.Send(w.as("ann"), req)
	if err != nil {
		t.Fatal(err)
	}
	for _, resend := range []bool{false, true} {
		req.Resend = resend
		again, err := w.pub.Send(w.as("ann"), req)
		if d := cmp.Diff(first, again, protocmp.Transform()); err != nil || d != "" {
			t.Errorf("the repeated Send (resend %v): %v (-want +got):\n%s", resend, err, d)
		}
	}
	req.Text.Text = "other"
	_, err = w.pub.Send(w.as("ann"), req)
	wantReason(t, "Send of another text with the same id", err, fault.ClientMsgIDReused)
	if r, err := w.pub.Send(w.as("bob"), &messagev1.SendRequest{ClientMsgId: "m1", ToUserId: "ann", Text: req.GetText()}); err != nil || r.GetSeq() != 2 {
		t.Errorf("bob's own m1 = seq %d, %v; want 2", r.GetSeq(), err)
	}
}

// Invariant 6: with the permission in memory a send to a group asks nobody; direct chats ask user each time.
func TestPermissionIsCached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann", "bob")
	for range 3 {
		w.send("ann", "g~team", "hi")
	}
	if w.groups.asked != 1 {
		t.Errorf("three sends asked group %d times; want 1", w.groups.asked)
	}
	w.send("bob", "g~team", "hi")
	w.notice("team")
	w.send("ann", "g~team", "hi") // fenced: asked again
	w.send("ann", "g~team", "hi")
	if w.groups.asked != 3 {
		t.Errorf("with bob's and one behind a notice group was asked %d times; want 3", w.groups.asked)
	}
	w.send("ann", "d~ann~bob", "hi")
	w.send("ann", "d~ann~bob", "hi")
	if w.users.asked != 2 {
		t.Errorf("two direct sends asked user %d times; want 2", w.users.asked)
	}
	w.users.block("bob", "ann")
	_, err := w.pub.Send(w.as("ann"), &messagev1.SendRequest{ClientMsgId: "late", ToUserId: "bob", Text: &messagev1.Text{Text: "hi"}})
	wantReason(t, "Send to who blocks me now", err, fault.NotAllowed)
}

// A cached permission ends with the notice of a removal, whoever appended it.
func TestPermissionIsFenced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann", "bob")
	w.send("bob", "g~team", "hi")
	w.groups.edit("team", func(g *team) { g.members["bob"].Visible[0].To = 2 })
	if at := w.notice("team"); at != 2 {
		t.Fatalf("the removal stands at %d; want 2", at)
	}
	_, err := w.pub.Send(w.as("bob"), &messagev1.SendRequest{ClientMsgId: "late", GroupId: "team", Text: &messagev1.Text{Text: "hi"}})
	wantReason(t, "Send after the removal", err, fault.NotMember)
	if r := w.send("ann", "g~team", "hi"); r.GetSeq() != 3 {
		t.Errorf("the next message has seq %d; want 3: nothing of bob's between", r.GetSeq())
	}
}

// A permission with an end is asked for again behind it.
func TestPermissionEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann")
	for _, tt := range []struct {
		until time.Time
		asked int
	}{{time.Now().Add(-time.Second), 2}, {time.Now().Add(time.Hour), 3}} {
		w.groups.edit("team", func(g *team) { g.until = timestamppb.New(tt.until) })
		w.send("ann", "g~team", "hi")
		w.send("ann", "g~team", "hi")
		if w.groups.asked != tt.asked {
			t.Errorf("two sends under a permission until %v asked group %d times in all; want %d", tt.until, w.groups.asked, tt.asked)
		}
	}
}

// Membership that changes between the answer and the append is asked for again, a bounded number of times.
func TestStalePermission(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann")
	changes := 3
	w.groups.before = func(n int) {
		if n <= changes {
			w.notice("team")
		}
	}
	if r := w.send("ann", "g~team", "hi"); r.GetSeq() != 4 || w.groups.asked != 4 {
		t.Errorf("Send = seq %d after %d questions; want 4, 4", r.GetSeq(), w.groups.asked)
	}
	w.notice("team")
	changes = 1000
	_, err := w.pub.Send(w.as("ann"), &messagev1.SendRequest{ClientMsgId: "late", GroupId: "team", Text: &messagev1.Text{Text: "hi"}})
	wantReason(t, "Send while membership never rests", err, fault.Overloaded)
	if f := fault.Of(err); f == nil || f.RetryAfter <= 0 || w.groups.asked > 20 {
		t.Errorf("after %d questions Send = %v; want a time to retry after, and a bound", w.groups.asked, err)
	}
}

// Group knows less than the log: its database was put back. It is told so, once, and then the message goes.
func TestGroupPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann")
	w.notice("team")
	w.notice("team")
	w.groups.edit("team", func(g *team) { g.asOf = 1 })
	_, err := w.pub.Send(w.as("ann"), &messagev1.SendRequest{ClientMsgId: "m1", GroupId: "team", Text: &messagev1.Text{Text: "hi"}})
	wantReason(t, "Send while group cannot be told", err, fault.Overloaded)
	var told []uint64
	w.groups.overtaken = func(asOf uint64) {
		told = append(told, asOf)
		w.notice("team")
	}
	if r := w.send("ann", "g~team", "hi"); r.GetSeq() != 4 || !slices.Equal(told, []uint64{1}) {
		t.Errorf("Send = seq %d, group was told of %v; want 4, [1]", r.GetSeq(), told)
	}
}

// The memory of permissions is bounded and may be small: every send still has the right answer.
func TestFewPermissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--permissions=3")
	all := []string{"a", "b", "c", "d", "e"}
	w.groups.add("team", all...)
	var wg sync.WaitGroup
	for _, u := range all {
		ctx := w.as(u)
		wg.Go(func() {
			for n := range 20 {
				id := u + string(rune('A'+n))
				if _, err := w.pub.Send(ctx, &messagev1.SendRequest{ClientMsgId: id, GroupId: "team", Text: &messagev1.Text{Text: id}}); err != nil {
					t.Errorf("Send(%s) = %v; want nil", id, err)
				}
			}
		})
	}
	wg.Wait()
	if h, err := w.log.Head(t.Context(), "g~team"); err != nil || h.Seq != 100 {
		t.Errorf("the head is %d, %v; want 100", h.Seq, err)
	}
}

// MSG-2: sensitive words become as many stars as they have code points, so offsets of mentions stay right.
func TestSensitiveWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--sensitive-words=bad, 海洋,badge,🐋x,é,STRASSE,")
	for in, want := range map[string]string{
		"nothing here":         "nothing here",
		"bad":                  "***",
		"BaD badges xbadx":     "*** *****s x***x",
		"über 海洋!":             "über **!",
		"🐋🐋X🐋":                 "🐋**🐋",
		"caf\u00c9 cafe\u0301": "caf* cafe\u0301",
		"ba":                   "ba",
		"babad":                "ba***",
		"İstraSSe K":           "İ******* K",
	} {
		r := w.send("ann", "d~ann~bob", in)
		if got := w.entry("d~ann~bob", r.GetSeq()).GetText().GetText(); got != want {
			t.Errorf("Send(%q) is in the log as %q; want %q", in, got, want)
		}
	}
}

// A caller that gives up gets no second effect, and no error that says "not sent".
func TestSendGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(w.as("ann"))
	cancel()
	_, err := w.pub.Send(ctx, &messagev1.SendRequest{ClientMsgId: "m1", ToUserId: "bob", Text: &messagev1.Text{Text: "hi"}})
	wantReason(t, "Send under an ended context", err, fault.OutcomeUnknown)
}

// MSG-2: a resend is the same message also when the list of sensitive words is another one now, whether the id is still
// remembered or found in the database.
func TestResendWithOtherWords(t *testing.T) {
	t.Parallel()
	first := newWorld(t, "--sensitive-words=bad")
	send := func(w *world, text string) (*messagev1.SendResponse, error) {
		return w.pub.Send(w.as("ann"), &messagev1.SendRequest{ClientMsgId: "m1", ToUserId: "bob", Resend: true, Text: &messagev1.Text{Text: text}})
	}
	want, err := send(first, "a bad word")
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"--sensitive-words=", "--sensitive-words=word", "--sensitive-words=bad"} {
		got, err := send(first.restarted(words), "a bad word")
		if err != nil || got.GetMessageId() != want.GetMessageId() {
			t.Errorf("resend with %s = %v, %v; want %v", words, got, err, want)
		}
		_, err = send(first.restarted(words), "a *** word")
		wantReason(t, "resend of the masked text", err, fault.ClientMsgIDReused)
	}
	if got := first.entry("d~ann~bob", 1).GetText().GetText(); got != "a *** word" {
		t.Errorf("stored text = %q; want it masked", got)
	}
}

// Invariant 3: who may write no more learns by a resend that an earlier attempt stands, and appends nothing new.
func TestResendBehindRemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann", "bob")
	send := func(c, id, text string, resend bool) (*messagev1.SendResponse, error) {
		return w.pub.Send(w.as("bob"), &messagev1.SendRequest{ClientMsgId: id, ConversationId: c, Text: &messagev1.Text{Text: text}, Resend: resend})
	}
	first := map[string]*messagev1.SendResponse{}
	for _, c := range []string{"g~team", "d~ann~bob"} {
		r, err := send(c, "m1", "hi", false)
		if err != nil {
			t.Fatal(err)
		}
		first[c] = r
	}
	w.groups.edit("team", func(g *team) { g.members["bob"].Visible[0].To = 2 })
	w.notice("team")
	w.users.block("ann", "bob")
	for c, reason := range map[string]fault.Reason{"g~team": fault.NotMember, "d~ann~bob": fault.NotAllowed} {
		head, err := w.log.Head(t.Context(), chat.ConversationID(c))
		if err != nil {
			t.Fatal(err)
		}
		got, err := send(c, "m1", "hi", true)
		if err != nil || got.GetMessageId() != first[c].GetMessageId() || got.GetSeq() != first[c].GetSeq() {
			t.Errorf("resend to %s = %v, %v; want %v", c, got, err, first[c])
		}
		_, err = send(c, "m2", "hi", true)
		wantReason(t, "resend of what never was, to "+c, err, reason)
		_, err = send(c, "m2", "hi", false)
		wantReason(t, "send to "+c, err, reason)
		if now, err := w.log.Head(t.Context(), chat.ConversationID(c)); err != nil || now.Seq != head.Seq {
			t.Errorf("head of %s = %d, %v; want still %d", c, now.Seq, err, head.Seq)
		}
	}
}
