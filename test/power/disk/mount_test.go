package disk_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/oceanchat/oceanchat/test/power/disk"
)

// mounted shows a disk until the end of the test.
func mounted(t *testing.T, d *disk.Disk) string {
	t.Helper()
	dir := t.TempDir()
	unmount, err := d.Mount(dir)
	if errors.Is(err, disk.ErrNoFUSE) {
		t.Skip(err) // only Linux with /dev/fuse, and who may mount, has it; a machine for CI does, and fails on a skip
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// child is a process that uses the disk. This one must not, not even in the moment between a fork and its exec: it would
// wait for itself. So the script changes its directory, and not cmd.Dir.
func child(dir, script string) *exec.Cmd {
	cmd := exec.Command("sh", "-eu", "-c", `cd "$0"; `+script, dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// What a process syncs through the kernel is there after a cut, and what it does not is not.
func TestMount(t *testing.T) {
	d := disk.New(disk.Options{Names: disk.Journal})
	err := child(mounted(t, d), `
		mkdir -p a/b; chmod 700 a
		printf synced >a/b/one; sync a/b/one
		printf through | dd of=a/two oflag=sync conv=notrunc status=none
		head -c 300000 /dev/zero | tr '\0' x >a/big; sync a/big
		printf y >>a/big
		mv a/b/one a/three
		printf lost >a/four
		[ "$(cat a/three a/four)" = syncedlost ]
		[ "$(ls a | tr '\n' ' ')" = "b big four three two " ]
		truncate -s 1 a/two; [ "$(cat a/two)" = t ]; rm a/four
	`).Run()
	if err != nil {
		t.Fatal(err)
	}
	d.Cut()
	d.Fail()
	out, err := child(mounted(t, d.Remains(disk.Options{Names: disk.Journal})), `ls a | tr '\n' ' '; cat a/b/one a/two; wc -c <a/big; stat -c %a a`).Output()
	if want := "b big two synced" + "through300000\n700\n"; err != nil || string(out) != want {
		t.Errorf("what remains: %q, %v; want %q", out, err, want)
	}
}

// After the cut a process hangs, and SIGKILL with Fail ends it before it can say a word.
func TestCutHoldsProcesses(t *testing.T) {
	d := disk.New(disk.Options{Names: disk.Journal})
	dir := mounted(t, d)
	outside := filepath.Join(t.TempDir(), "said")
	cmd := child(dir, `while :; do printf x >>f || true; sync f || echo failed >>`+outside+`; done`)
	cmd.Stderr = nil
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.CutAt(5)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-d.Dark()
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.Fail()
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended well; want it killed")
	}
	if said, err := os.ReadFile(outside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the process saw an error after the cut: %q, %v", said, err)
	}
	out, err := child(mounted(t, d.Remains(disk.Options{Names: disk.Journal})), `cat f`).Output()
	if err != nil || !bytes.Equal(out, []byte("xxxx")) && !bytes.Equal(out, []byte("xxxxx")) {
		t.Errorf("what remains: %q, %v; want four or five x", out, err)
	}
}
