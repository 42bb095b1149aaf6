package system

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/fleet"
	"github.com/oceanchat/oceanchat/test/history"
)

// killRounds is how often the process is killed while clients send.
const killRounds = 4

// talker is one user who sends to others without pause, over REST or over a connection, through kills and restarts. What
// is not known to have failed is sent again with the same id, as the contract asks.
type talker struct {
	user     *client.User
	to       map[string]string // conversation -> body's target field and id, as "groupId=g1"
	rest     bool
	sent     int
	received atomic.Int64
}

// Invariants 1 to 3: kill -9 at any moment, several rounds, while sending. The next start needs no repair command and
// has every acknowledged message once, at its seq; every client saw the same.
func TestKill9(t *testing.T) {
	s := start(t)
	var users []*client.User
	for _, name := range []string{"ann", "bob", "cid", "dan"} {
		users = append(users, s.user(name))
	}
	ann, bob, cid := users[0], users[1], users[2]
	var made struct{ Group struct{ GroupID string } }
	ids := []string{bob.ID, cid.ID, users[3].ID}
	if err := ann.Do(t.Context(), "POST", "/groups", client.Object{"name": "G", "memberIds": ids}, &made); err != nil {
		t.Fatal(err)
	}
	group := made.Group.GroupID
	talkers := []*talker{
		{user: ann, to: map[string]string{"g~" + group: "groupId=" + group, direct(ann, bob): "toUserId=" + bob.ID}},
		{user: bob, to: map[string]string{"g~" + group: "groupId=" + group, direct(ann, bob): "toUserId=" + ann.ID}},
		{user: cid, to: map[string]string{"g~" + group: "groupId=" + group}, rest: true},
	}
	var check history.Checker
	for round := range killRounds {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, k := range talkers {
			wg.Go(func() { k.talk(ctx, t, &check) })
		}
		before := check.AckedCount()
		eventually(t, "messages are acknowledged", func() bool { return check.AckedCount() >= before+150*(round+1) })
		s.kill()
		cancel()
		wg.Wait()
		s.up()
		for _, u := range users {
			u.Base = s.base
			if err := u.Login(t.Context()); err != nil {
				t.Fatalf("round %d: %s logs in: %v", round, u.Username, err)
			}
		}
	}
	for _, c := range []string{"g~" + group, direct(ann, bob)} {
		entries := readAll(t, ann, c)
		check.Log(c, entries)
		for _, e := range readAll(t, bob, c) {
			check.Received("bob's reading", e)
		}
	}
	for _, v := range check.Violations() {
		t.Error(v)
	}
	for _, k := range talkers[:2] {
		if k.received.Load() == 0 {
			t.Errorf("%s received no push at all", k.user.Username)
		}
	}
	t.Logf("%d acknowledged over %d kills", check.AckedCount(), killRounds)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code after SIGTERM = %d; want 0", code)
	}
}

func direct(a, b *client.User) string { return fleet.Direct(a.ID, b.ID) }

// talk sends until ctx ends. Errors are expected: the server is being killed.
func (k *talker) talk(ctx context.Context, t *testing.T, check *history.Checker) {
	call := func(params client.Object, out any) error {
		return k.user.Do(ctx, "POST", "/messages", params, out)
	}
	if !k.rest {
		conn, err := k.user.Connect(ctx, "", true)
		if err != nil {
			return // killed already
		}
		defer conn.Close()
		call = func(params client.Object, out any) error { return conn.Call(ctx, "message.send", params, out) }
		go k.listen(conn, check)
	}
	for ctx.Err() == nil {
		for conversation, target := range k.to {
			k.sent++
			id := fmt.Sprintf("m%d", k.sent)
			if k.deliver(ctx, call, conversation, target, id, check) != nil {
				return
			}
		}
	}
}

// deliver sends one message until its fate is known or the server is gone.
func (k *talker) deliver(ctx context.Context, call func(client.Object, any) error, conversation, target, id string, check *history.Checker) error {
	var field, value string
	for i := range target {
		if target[i] == '=' {
			field, value = target[:i], target[i+1:]
		}
	}
	params := client.Object{"clientMsgId": id, field: value, "text": client.Object{"text": "message " + id}}
	for attempt := 0; ; attempt++ {
		params["resend"] = attempt > 0
		var got struct {
			MessageID string
			Seq       uint64
		}
		err := call(params, &got)
		var refused *client.Error
		switch {
		case err == nil:
			check.Acked(history.Entry{Conversation: conversation, Seq: got.Seq, MessageID: got.MessageID, ClientMsgID: id, Sender: k.user.ID})
			return nil
		case errors.As(err, &refused) && refused.Code != "UNAVAILABLE":
			check.Refused(k.user.ID, conversation, id)
			return err
		case errors.As(err, &refused) && attempt < 3 && ctx.Err() == nil:
			pause()
		default:
			return err // gone; the outcome stays unknown, and the checker asks nothing of it
		}
	}
}

// listen records pushes and acknowledges them.
func (k *talker) listen(conn *client.Conn, check *history.Checker) {
	ctx := context.Background()
	for {
		n, e, err := conn.NextEntry(ctx)
		if err != nil {
			return
		}
		k.received.Add(1)
		check.Received(k.user.Username+"'s connection", fleet.Seen(e))
		_ = conn.Send(client.Object{"jsonrpc": "2.0", "method": "ack", "params": client.Object{"n": n}})
	}
}

// readAll reads a log from its start by query.entries.
func readAll(t *testing.T, u *client.User, conversation string) []history.Entry {
	t.Helper()
	out, err := fleet.Log(within(t, fleetWait), u, conversation)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
