package system

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
)

// run runs the binary with the server's data directory and returns its exit code and what it printed.
func (s *server) run(args ...string) (int, string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), binary, append(args[:1:1], append([]string{"--data-dir", s.dir}, args[1:]...)...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		s.t.Fatalf("oceanchat %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// mustRun fails unless the command ends with a code and prints a word.
func (s *server) mustRun(code int, word string, args ...string) {
	s.t.Helper()
	if got, out := s.run(args...); got != code || !strings.Contains(out, word) {
		s.t.Fatalf("oceanchat %v = %d:\n%s\nwant %d, and %q", args, got, out, code, word)
	}
}

// putBack puts a back-up in place of the database of a server that has ended.
func (s *server) putBack(file string) {
	s.t.Helper()
	for _, old := range []string{"oceanchat.db-wal", "oceanchat.db-shm"} {
		if err := os.Remove(filepath.Join(s.dir, old)); err != nil && !os.IsNotExist(err) {
			s.t.Fatal(err)
		}
	}
	copied, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "oceanchat.db"), copied, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// politely ends the server and lets everything be stored.
func (r *restarts) politely() {
	r.t.Helper()
	if code := r.s.stop(); code != 0 {
		r.t.Errorf("exit code after SIGTERM = %d; want 0", code)
	}
	r.s.mustRun(0, "nothing to do", "recover", "--partitions", "1", "--apply") // which stores what the log holds first
}

// raised fails unless the epoch is above another one, and returns it.
func (r *restarts) raised(before int) int {
	r.t.Helper()
	var got struct{ Epoch int }
	r.must(r.Boats[0].User.Do(r.t.Context(), "POST", "/sync", client.Object{"syncToken": ""}, &got))
	if got.Epoch <= before {
		r.t.Errorf("epoch = %d; want it above %d", got.Epoch, before)
	}
	return got.Epoch
}

// L7: the log is lost while the server is down, once all of it was stored. Clients of the SDK learn of the new epoch, nothing is lost, and
// numbers go on.
func TestRecoverLostLog(t *testing.T) {
	r := launch(t)
	r.through(0, func() {
		r.politely()
		if err := os.RemoveAll(filepath.Join(r.s.dir, "nats")); err != nil {
			t.Fatal(err)
		}
		r.s.mustRun(1, "the log is lost", "recover")
		r.s.mustRun(0, "done; the epoch is", "recover", "--apply")
		r.s.mustRun(0, "nothing to do", "recover")
	})
	epoch := r.raised(1)
	r.through(1, func() { // and without the command: a start mends it by itself
		r.politely()
		if err := os.RemoveAll(filepath.Join(r.s.dir, "nats")); err != nil {
			t.Fatal(err)
		}
	})
	r.raised(epoch)
	r.judge()
}

// The number of partitions changes, with clients that come back to it.
func TestChangePartitions(t *testing.T) {
	r := launch(t)
	r.through(0, func() {
		if code := r.s.stop(); code != 0 {
			t.Errorf("exit code after SIGTERM = %d; want 0", code)
		}
		r.s.mustRun(1, "from 1 to 3", "recover", "--partitions", "3")
		r.s.mustRun(0, "set log.partitions to 3", "recover", "--partitions", "3", "--apply")
		cmd := exec.CommandContext(t.Context(), binary, "--data-dir", r.s.dir, "--http-addr", freeAddr(t), "--ops-addr", "", "--tcp-addr", "")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "oceanchat recover --partitions 1") {
			t.Errorf("a start with the old number = %v: %s; want it refused, and the way out", err, out)
		}
		r.s.flags = []string{"--log-partitions", "3"}
	})
	r.raised(1)
	r.judge()
}

// A server's database is copied while it runs, and put back somewhere else: accounts, sessions and history are there, numbers go on, and a
// client that knows more is told to begin anew.
func TestBackupPutBack(t *testing.T) {
	s := start(t)
	ann, bob := s.user("ann"), s.user("bob")
	send := func(s *server, n int) (seq uint64) {
		var got struct{ Seq uint64 }
		err := ann.Do(t.Context(), "POST", "/messages", client.Object{
			"clientMsgId": fmt.Sprint("m", n), "toUserId": bob.ID, "text": client.Object{"text": fmt.Sprint("text ", n)},
		}, &got)
		if err != nil {
			t.Fatal(err)
		}
		return got.Seq
	}
	for n := 1; n <= 30; n++ {
		send(s, n)
	}
	eventually(t, "all is stored", func() bool { return s.metric("oceanchat_persistence_entries_stored_total") >= 30 })
	file := filepath.Join(t.TempDir(), "copy.db")
	s.mustRun(0, "holds everything that was stored", "backup", "--to", file)
	s.mustRun(1, "is there already", "backup", "--to", file)
	for n := 31; n <= 35; n++ {
		send(s, n)
	}
	var before struct {
		SyncToken string
		Epoch     int
	}
	if err := bob.Do(t.Context(), "POST", "/sync", client.Object{"syncToken": ""}, &before); err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.dir = t.TempDir()
	s.putBack(file)
	s.up()
	ann.Base, bob.Base = s.base, s.base
	var after struct {
		Epoch  int
		Resync bool
	}
	if err := bob.Do(t.Context(), "POST", "/sync", client.Object{"syncToken": before.SyncToken}, &after); err != nil {
		t.Fatal(err)
	}
	if !after.Resync || after.Epoch <= before.Epoch {
		t.Errorf("sync with the old token = %+v; want resync, and an epoch above %d", after, before.Epoch)
	}
	if seq := send(s, 36); seq != 31 {
		t.Errorf("the next seq = %d; want 31", seq)
	}
	entries := readAll(t, bob, direct(ann, bob))
	for i, e := range entries {
		if e.Seq != uint64(i)+1 {
			t.Errorf("entry %d has seq %d", i+1, e.Seq)
		}
	}
	if len(entries) != 31 {
		t.Errorf("%d entries; want 31", len(entries))
	}
}
