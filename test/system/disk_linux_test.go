package system

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/history"
)

// onSmallDisk makes the server start in a mount namespace of its own, where its data directory is a file system in
// memory of the given size. The test reaches it through the process's own view of the root.
func onSmallDisk(size string) func(s *server, cmd *exec.Cmd) {
	return func(s *server, cmd *exec.Cmd) {
		script := fmt.Sprintf("mount -t tmpfs -o size=%s tmpfs %q && exec \"$0\" \"$@\"", size, s.dir)
		cmd.Args = append([]string{"sh", "-c", script, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: os.Getuid(), Size: 1},
		}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	}
}

// inside returns a path in the server's data directory as the server sees it.
func (s *server) inside(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", s.cmd.Process.Pid), s.dir, name)
}

// L8 of docs/log.md: with the disk full sends fail with LOG_FULL and /readyz is false; when space is back sending
// resumes by itself, and nothing acknowledged is lost.
func TestFullDisk(t *testing.T) {
	if out, err := exec.Command("unshare", "-rm", "true").CombinedOutput(); err != nil {
		t.Skipf("no user namespaces here: %v %s", err, out)
	}
	s := startWith(t, onSmallDisk("96m"))
	ann, bob := s.user("ann"), s.user("bob")
	var check history.Checker
	conversation := direct(ann, bob)
	n := 0
	attempt := func() error {
		n++
		id := fmt.Sprint("m", n)
		var got struct {
			MessageID string
			Seq       uint64
		}
		err := ann.Do(within(t, 20*time.Second), "POST", "/messages", client.Object{"clientMsgId": id, "toUserId": bob.ID, "text": client.Object{"text": strings.Repeat("x", 4000)}}, &got)
		switch client.ReasonOf(err) {
		case "":
			check.Acked(history.Entry{Conversation: conversation, Seq: got.Seq, MessageID: got.MessageID, ClientMsgID: id, Sender: ann.ID})
		case "LOG_FULL":
			check.Refused(ann.ID, conversation, id)
		}
		return err
	}
	for range 20 {
		if err := attempt(); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s.inside("filler"))
	eventually(t, "a send fails with LOG_FULL", func() bool { return client.ReasonOf(attempt()) == "LOG_FULL" })
	eventually(t, "/readyz is false", func() bool { return !s.ready() })
	if err := ann.Do(t.Context(), "GET", "/conversations/"+conversation+"/messages", nil, nil); err != nil {
		t.Errorf("reading with a full disk: %v; want it to work", err)
	}
	if err := os.Remove(s.inside("filler")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sending resumes", func() bool { return attempt() == nil })
	eventually(t, "/readyz is true again", s.ready)
	check.Log(conversation, readAll(t, ann, conversation))
	for _, v := range check.Violations() {
		t.Error(v)
	}
	t.Logf("%d of %d acknowledged", check.AckedCount(), n)
}

// fill writes until there is no space.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
}
