package history_test

import (
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/test/history"
)

func entry(seq uint64, id string) history.Entry {
	return history.Entry{Conversation: "g~g", Seq: seq, MessageID: "M" + id, ClientMsgID: id, Sender: "ann"}
}

// The checker is what all later tests trust, so each rule is shown to catch what it is for.
func TestViolations(t *testing.T) {
	tests := []struct {
		name string
		run  func(c *history.Checker)
		want string // part of the one violation; "" for none
	}{
		{"right", func(c *history.Checker) {
			c.Acked(entry(1, "a"))
			c.Received("bob", entry(2, "b"))
			c.Refused("ann", "g~g", "x")
			c.Log("g~g", []history.Entry{entry(1, "a"), entry(2, "b")})
		}, ""},
		{"an acknowledged one is lost", func(c *history.Checker) {
			c.Acked(entry(2, "b"))
			c.Log("g~g", []history.Entry{entry(1, "a")})
		}, "is lost"},
		{"renumbered", func(c *history.Checker) {
			c.Acked(entry(1, "b"))
			c.Log("g~g", []history.Entry{entry(1, "a"), entry(2, "b")})
		}, "acknowledged at seq 1"},
		{"twice", func(c *history.Checker) {
			c.Acked(entry(2, "a"))
			c.Log("g~g", []history.Entry{entry(1, "a"), entry(2, "a")})
		}, "stands twice"},
		{"a hole", func(c *history.Checker) {
			c.Log("g~g", []history.Entry{entry(1, "a"), entry(3, "b")})
		}, "seq 3 stands where 2 belongs"},
		{"seen differently", func(c *history.Checker) {
			c.Received("bob", entry(1, "b"))
			c.Log("g~g", []history.Entry{entry(1, "a")})
		}, "bob saw Mb at seq 1"},
		{"seen beyond the end", func(c *history.Checker) {
			c.Received("bob", entry(2, "b"))
			c.Log("g~g", []history.Entry{entry(1, "a")})
		}, "the log ends at 1"},
		{"refused and yet there", func(c *history.Checker) {
			c.Refused("ann", "g~g", "a")
			c.Log("g~g", []history.Entry{entry(1, "a")})
		}, "was refused"},
		{"never read", func(c *history.Checker) { c.Acked(entry(1, "a")) }, "never read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c history.Checker
			tt.run(&c)
			got := c.Violations()
			if tt.want == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || tt.want == "" || !strings.Contains(got[0], tt.want) {
				t.Errorf("Violations() = %q; want one with %q", got, tt.want)
			}
		})
	}
}

// Forgive forgets what is lost, and nothing that is elsewhere.
func TestForgive(t *testing.T) {
	var c history.Checker
	entry := func(id string, seq uint64) history.Entry {
		return history.Entry{Conversation: "g~1", Seq: seq, MessageID: "m" + id, ClientMsgID: id, Sender: "u"}
	}
	c.Acked(entry("a", 1))
	c.Acked(entry("b", 2))
	c.Acked(entry("c", 3))
	c.Log("g~1", []history.Entry{entry("a", 1), entry("c", 2)})
	if got := c.Forgive(); len(got) != 1 || got[0] != entry("b", 2) {
		t.Errorf("Forgive = %v; want b", got)
	}
	if got := c.AckedCount(); got != 2 {
		t.Errorf("after Forgive %d are acknowledged; want 2", got)
	}
	if got := c.Violations(); len(got) != 1 {
		t.Errorf("violations after Forgive = %q; want one, that c was renumbered", got)
	}
}
