package embedded_test

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

// A full disk: sends fail with ErrFull, nothing acknowledged is lost, and it goes on when there is
// space. Every write beyond a size fails, which needs no privilege.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	out, err := child(t, "rlimit", t.TempDir()).CombinedOutput()
	if err != nil {
		t.Errorf("child = %v; want success\n%s", err, out)
	}
}

func childRlimit(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	set := func(soft uint64) error {
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: min(soft, was.Max), Max: was.Max})
	}
	limit := uint64(0)
	return fullDisk(embedded.Config{Reserve: 1}, disk{
		dir,
		func() error { // a little more than the largest file there is
			err := filepath.Walk(dir, func(_ string, i os.FileInfo, err error) error {
				if err == nil {
					limit = max(limit, uint64(i.Size()))
				}
				return nil
			})
			return errors.Join(err, set(limit+300_000))
		},
		func() error { return set(was.Cur) },
	})
}

// The same with a disk that has no space: in a namespace of the child's own, or where that is not
// allowed with a limit of the size of files.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"tmpfs", "reserve"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := child(t, mode, t.TempDir())
			c.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
			out, err := c.CombinedOutput()
			if noMount := c.ProcessState == nil || c.ProcessState.ExitCode() == exitNoMount; noMount {
				t.Logf("no file system of its own (%v), so with a limit of the size of files", err)
				out, err = child(t, "rlimit", t.TempDir()).CombinedOutput()
			}
			if err != nil {
				t.Errorf("child = %v; want success\n%s", err, out)
			}
		})
	}
}

// exitNoMount is the child's exit code when it may not mount.
const exitNoMount = 77

// smallDisk mounts a disk of 64 MiB on dir; fill leaves free bytes of it.
func smallDisk(dir string, free int64) disk {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		fmt.Println("mount:", err)
		os.Exit(exitNoMount)
	}
	ballast := filepath.Join(dir, "ballast")
	return disk{
		dir,
		func() error {
			var st syscall.Statfs_t
			if err := syscall.Statfs(dir, &st); err != nil {
				return err
			}
			return os.WriteFile(ballast, make([]byte, int64(st.Bavail)*st.Bsize-free), 0o600)
		},
		func() error { return os.Remove(ballast) },
	}
}

func childTmpfs(dir string) error {
	return fullDisk(embedded.Config{Reserve: 1}, smallDisk(dir, 1<<20))
}

// With a reserve the guard refuses before any write fails, also one that comes very soon.
func childReserve(dir string) error {
	return fullDisk(embedded.Config{Reserve: 8 << 20}, smallDisk(dir, 9<<20))
}
