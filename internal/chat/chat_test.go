package chat_test

import (
	"testing"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

func TestDirectID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		a, b    chat.UserID
		want    chat.ConversationID
		wantErr fault.Code // empty: no error
	}{
		{name: "in order", a: "ann", b: "bob", want: "d~ann~bob"},
		{name: "reversed ends share one log", a: "bob", b: "ann", want: "d~ann~bob"},
		{name: "byte order, not letters' order", a: "a", b: "B", want: "d~B~a"},
		{name: "empty end", a: "ann", wantErr: fault.Invalid},
		{name: "with oneself", a: "ann", b: "ann", wantErr: fault.Invalid},
		{name: "wildcard would widen the subject", a: "ann", b: ">", wantErr: fault.Invalid},
		{name: "separator would forge another id", a: "ann", b: "b~c", wantErr: fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := chat.DirectID(tt.a, tt.b)
			if tt.wantErr != "" {
				if code := fault.CodeOf(err); err == nil || code != tt.wantErr {
					t.Fatalf("DirectID(%q, %q) error = %v, code %q; want code %q", tt.a, tt.b, err, code, tt.wantErr)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("DirectID(%q, %q) = %q, %v; want %q", tt.a, tt.b, got, err, tt.want)
			}
		})
	}
}

func TestConversationKind(t *testing.T) {
	t.Parallel()
	tests := []struct {
		id   chat.ConversationID
		want chat.Kind
	}{
		{"d~ann~bob", chat.KindDirect},
		{"d~bob~ann", chat.KindNone},
		{"d~ann~ann", chat.KindNone},
		{"d~ann", chat.KindNone},
		{"d~ann~bob~cid", chat.KindNone},
		{"g~team", chat.KindGroup},
		{"g~", chat.KindNone},
		{"i~ann", chat.KindInbox},
		{"x~ann", chat.KindNone},
		{"dd~ann~bob", chat.KindNone},
		{"", chat.KindNone},
		{"g~a.b", chat.KindNone},
	}
	for _, tt := range tests {
		if got := tt.id.Kind(); got != tt.want {
			t.Errorf("ConversationID(%q).Kind() = %q; want %q", tt.id, got, tt.want)
		}
	}
}

func TestConversationParts(t *testing.T) {
	t.Parallel()
	d := chat.ConversationID("d~ann~bob")
	if got := d.Peer("ann"); got != "bob" {
		t.Errorf("Peer(ann) = %q; want bob", got)
	}
	if got := d.Peer("eve"); got != "" {
		t.Errorf("Peer(eve) = %q; want none", got)
	}
	if d.Group() != "" || d.Owner() != "" {
		t.Errorf("a direct conversation has group %q, owner %q; want none", d.Group(), d.Owner())
	}
	if got := chat.GroupConversation("team").Group(); got != "team" {
		t.Errorf("Group() = %q; want team", got)
	}
	if got := chat.InboxID("ann").Owner(); got != "ann" {
		t.Errorf("Owner() = %q; want ann", got)
	}
	if got := d.Partition(1); got != 0 {
		t.Errorf("Partition(1) = %d; want 0", got)
	}
	if got := d.Partition(16); got != 11 {
		t.Errorf("Partition(16) = %d; want 11: a changed hash moves every conversation", got)
	}
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	m := chat.NewMessageID(0xdeadbeefcafe, 1_000_000)
	if seq, ok := m.Seq(); !ok || seq != 1_000_000 {
		t.Errorf("%q.Seq() = %d, %v; want 1000000, true", m, seq, ok)
	}
	if got := m.Random(); got != 0xdeadbeefcafe {
		t.Errorf("%q.Random() = %x; want deadbeefcafe", m, got)
	}
	for _, bad := range []chat.MessageID{"", "abc", "0123456789abc", "0123456789abc0", "0123456789abc!", "0123456789abczz"} {
		if seq, ok := bad.Seq(); ok {
			t.Errorf("%q.Seq() = %d, true; want false", bad, seq)
		}
	}
	if id := chat.NewID(); !chat.ValidID(id) || id == chat.NewID() {
		t.Errorf("NewID() = %q; want a valid id, each time another", id)
	}
}
