package chat_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/chat"
)

var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// FuzzIDs: what is taken for an id has the form of the contract, and every id says what it was made of. What is refused
// can never become a subject, a key or a path.
func FuzzIDs(f *testing.F) {
	for _, s := range []string{
		"ann", "d~ann~bob", "g~team", "i~ann", "d~bob~ann", "g~a.b", "d~ann~>", "g~\n", strings.Repeat("x", 65),
		"0123456789abc1a", string(chat.NewMessageID(1, 1)), "0123456789abc0", "vvvvvvvvvvvvvfvvvvvvvvvvvv",
	} {
		f.Add(s, uint64(len(s)))
	}
	f.Fuzz(func(t *testing.T, s string, n uint64) {
		valid := idForm.MatchString(s) && !strings.HasSuffix(s, "\n")
		if got := chat.ValidID(s); got != valid || (chat.CheckID("x", s) == nil) != valid {
			t.Errorf("ValidID(%q) = %v; want %v", s, got, valid)
		}
		fuzzConversation(t, s)
		fuzzMessageID(t, s, n)
	})
}

func fuzzConversation(t *testing.T, s string) {
	c, err := chat.ParseConversationID("x", s)
	if err != nil {
		return
	}
	again := chat.ConversationID("")
	switch c.Kind() {
	case chat.KindDirect:
		a, b := c.Users()
		if again, err = chat.DirectID(b, a); c.Peer(a) != b || c.Peer(b) != a {
			t.Errorf("%q: peers of %q and %q are %q and %q", s, a, b, c.Peer(a), c.Peer(b))
		}
	case chat.KindGroup:
		again = chat.GroupConversation(c.Group())
	case chat.KindInbox:
		again = chat.InboxID(c.Owner())
	case chat.KindNone:
	}
	if err != nil || string(again) != s {
		t.Errorf("%q made again from its parts = %q, %v", s, again, err)
	}
	if p := c.Partition(16); p < 0 || p >= 16 {
		t.Errorf("%q.Partition(16) = %d", s, p)
	}
	if strings.ContainsAny(s, "./\\*> \t\r\n\x00") {
		t.Errorf("%q is taken for a conversation; want nothing that has a meaning in subjects and paths", s)
	}
}

func fuzzMessageID(t *testing.T, s string, n uint64) {
	if seq, ok := chat.MessageID(s).Seq(); ok && (seq == 0 || !chat.ValidID(s)) {
		t.Errorf("%q.Seq() = %d, true; want a seq from 1 in an id", s, seq)
	}
	_ = chat.MessageID(s).Random() // must not fail, whatever s is
	if n == 0 {
		return
	}
	m := chat.NewMessageID(n*0x9e3779b97f4a7c15, n)
	if seq, ok := m.Seq(); !ok || seq != n || m.Random() != n*0x9e3779b97f4a7c15 || !chat.ValidID(string(m)) {
		t.Errorf("NewMessageID(…, %d) = %q with seq %d and random %x", n, m, seq, m.Random())
	}
}
