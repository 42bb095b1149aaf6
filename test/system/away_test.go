package system

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/history"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// sendOn sends text to a user or a group over a connection.
func sendOn(ctx context.Context, from *client.User, c *client.Conn, target client.Object, id string) (history.Entry, error) {
	var got struct {
		MessageID, ConversationID string
		Seq                       uint64
	}
	params := client.Object{"clientMsgId": id, "text": client.Object{"text": id}}
	maps.Copy(params, target)
	err := c.Call(ctx, "message.send", params, &got)
	return history.Entry{Conversation: got.ConversationID, Seq: got.Seq, MessageID: got.MessageID, ClientMsgID: id, Sender: from.ID}, err
}

// PERS-2, invariant 6: with MongoDB away, which is paused here, people who talk go on talking: sends are acknowledged
// and arrive, the latest of what was said can be read, and who reconnects hears what is said from then on. When it is
// back, everything is stored, and who connected meanwhile is told to synchronise.
func TestDatabaseAway(t *testing.T) {
	s := start(t, "--user-cache-ttl", "1s", "--group-cache-ttl", "1s") // that much is not what carries them
	// An instance that has only just got a partition must ask the database where its conversations end.
	eventually(t, "the partitions are shared out", func() bool {
		return s.metric("oceanchat_message_other_instances") == 2 && s.metric("oceanchat_message_partitions") == 2
	})
	ann, bob := s.user("ann"), s.user("bob")
	a, b := connect(t, ann), connect(t, bob)
	var made struct{ Group struct{ GroupID string } }
	if err := a.Call(t.Context(), "group.create", client.Object{"name": "us", "memberIds": []string{bob.ID}}, &made); err != nil {
		t.Fatal(err)
	}
	var check history.Checker
	targets := []client.Object{{"toUserId": bob.ID}, {"groupId": made.Group.GroupID}}
	last := map[string]uint64{}
	say := func(to *client.Conn, id string) {
		t.Helper()
		for i, target := range targets {
			e, err := sendOn(within(t, 10*time.Second), ann, a, target, fmt.Sprint(id, "-", i))
			if err != nil {
				t.Fatalf("send %s-%d: %v", id, i, err)
			}
			check.Acked(e)
			last[e.Conversation] = e.Seq
			for {
				_, got, err := to.NextEntry(within(t, 10*time.Second))
				if err != nil {
					t.Fatalf("%s-%d does not arrive: %v", id, i, err)
				}
				if got.MessageID == e.MessageID {
					break
				}
			}
		}
	}
	say(b, "before")
	latest := func(conversation string) []client.Entry {
		t.Helper()
		var page struct{ Entries []client.Entry }
		if err := bob.Do(within(t, 20*time.Second), "GET", "/conversations/"+conversation+"/messages?limit=5", nil, &page); err != nil {
			t.Fatalf("read the latest of %s: %v", conversation, err)
		}
		return page.Entries
	}
	for conversation := range last {
		latest(conversation) // so that who may read it is known
	}
	eventually(t, "everything is stored", func() bool { return s.metric("oceanchat_log_reader_lag_batches") == 0 })
	if err := parts.Mongo.Pause(); err != nil {
		t.Fatal(err)
	}
	paused := true
	resume := func() {
		if paused {
			paused = false
			if err := parts.Mongo.Continue(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(resume)
	for i := range 8 {
		say(b, fmt.Sprint("away", i))
		<-time.After(400 * time.Millisecond)
	}
	for conversation, seq := range last {
		got := latest(conversation)
		if !slices.ContainsFunc(got, func(e client.Entry) bool { return e.Seq == seq }) {
			t.Errorf("the latest of %s, read while the database is away, lacks seq %d: %+v", conversation, seq, got)
		}
	}
	b.Close()
	token, _ := b.Connected["syncToken"].(string)
	again, err := bob.Connect(within(t, 20*time.Second), token, true)
	if err != nil {
		t.Fatalf("connect while the database is away: %v", err)
	}
	t.Cleanup(again.Close)
	if got := again.Connected["syncToken"]; got != token {
		t.Errorf("connect while the database is away gave the token %q; want the one that the client came with", got)
	}
	say(again, "reconnected")
	resume()
	if _, err := again.Next(within(t, 30*time.Second), "resync"); err != nil {
		t.Errorf("after the database is back: %v", err)
	}
	eventually(t, "everything is stored", func() bool { return s.metric("oceanchat_log_reader_lag_batches") == 0 })
	for conversation := range last {
		check.Log(conversation, readAll(t, bob, conversation))
	}
	for _, v := range check.Violations() {
		t.Error(v)
	}
}

// PRES-1: Redis dies and comes back with nothing. Sessions are asked of auth, gateways register their connections again,
// and messages arrive on connections that never noticed.
func TestRedisComesBackEmpty(t *testing.T) {
	s := start(t)
	ann, bob := s.user("ann"), s.user("bob")
	a, b := connect(t, ann), connect(t, bob)
	to := client.Object{"toUserId": bob.ID}
	if _, err := sendOn(t.Context(), ann, a, to, "before"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.NextEntry(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	emptyRedis(t, parts)
	n := 0
	eventually(t, "a message arrives on the old connection", func() bool {
		n++
		if _, err := sendOn(within(t, 10*time.Second), ann, a, to, fmt.Sprint("after", n)); err != nil {
			return false // limits and caches may not answer for a moment
		}
		for {
			_, e, err := b.NextEntry(within(t, time.Second))
			if err != nil {
				return false
			}
			if e.ClientMsgID == fmt.Sprint("after", n) {
				return true
			}
		}
	})
	// Each process finds out for itself that Redis is back, within a second or so.
	eventually(t, "a session that the empty Redis does not know is good", func() bool { return bob.Do(t.Context(), "GET", "/users/me", nil, nil) == nil })
	eventually(t, "log-out is taken", func() bool {
		err := bob.Do(t.Context(), "POST", "/auth/logout", nil, nil)
		return err == nil || client.ReasonOf(err) == "SESSION_ENDED"
	})
	if err := bob.Do(t.Context(), "GET", "/users/me", nil, nil); client.ReasonOf(err) != "SESSION_ENDED" {
		t.Errorf("after log-out = %v; want SESSION_ENDED", err)
	}
}

// emptyRedis kills Redis and starts it again with nothing.
func emptyRedis(t *testing.T, parts *local.Parts) {
	t.Helper()
	if err := parts.EmptyRedis(); err != nil {
		t.Fatal(err)
	}
	if err := parts.Redis.Restart(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
}
