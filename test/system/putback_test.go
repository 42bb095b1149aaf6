package system

import (
	"path/filepath"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
)

// A back-up of the database is put back beside the log, and a group had changed in between: people go on writing to it, and
// who had joined since does not belong to it.
func TestGroupPutBack(t *testing.T) {
	s := start(t)
	ann, bob, cyd := s.user("ann"), s.user("bob"), s.user("cyd")
	var made struct{ Group struct{ GroupID string } }
	do := func(who *client.User, method, path string, in, out any) {
		t.Helper()
		if err := who.Do(t.Context(), method, path, in, out); err != nil {
			t.Fatal(err)
		}
	}
	do(ann, "POST", "/groups", client.Object{"name": "G", "memberIds": []string{bob.ID}}, &made)
	id := made.Group.GroupID
	file := filepath.Join(t.TempDir(), "copy.db")
	s.mustRun(0, "holds everything that was stored", "backup", "--to", file)
	do(ann, "POST", "/groups/"+id+"/members", client.Object{"userIds": []string{cyd.ID}}, nil)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code after SIGTERM = %d; want 0", code)
	}
	s.putBack(file)
	s.up()
	ann.Base, bob.Base, cyd.Base = s.base, s.base, s.base
	message := client.Object{"clientMsgId": "m1", "groupId": id, "text": client.Object{"text": "hi"}}
	do(bob, "POST", "/messages", message, nil)
	if err := cyd.Do(t.Context(), "POST", "/messages", message, nil); client.ReasonOf(err) != "NOT_FOUND" {
		t.Errorf("a send of who joined since the back-up = %v; want NOT_FOUND", err)
	}
	entries := readAll(t, ann, "g~"+id)
	for i, e := range entries {
		if e.Seq != uint64(i)+1 {
			t.Errorf("entry %d has seq %d", i+1, e.Seq)
		}
	}
	if n := len(entries); n != 4 {
		t.Errorf("%d entries; want the group's making, cyd's joining, the group's change and a message", n)
	}
}
