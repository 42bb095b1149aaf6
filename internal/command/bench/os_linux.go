package bench

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// syncFlag makes each write wait for the disk, as one fsync of the log does.
const syncFlag = syscall.O_DSYNC

// nap sleeps for about d, 50 µs late at most on a quiet machine. Go's own timers are up to 1 ms late in a process with
// little to do, which would count as latency of the server. The caller holds its thread.
func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // woken early: the caller looks at the clock anyway
}

// filesystem names what dir lies on: fsync costs nothing on tmpfs and more with a journal.
func filesystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	names := map[int64]string{0xEF53: "ext4", 0x01021994: "tmpfs (fsync is free: no figure counts)", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x794c7630: "overlay", 0x2FC12FC1: "zfs"}
	if name, ok := names[int64(s.Type)]; ok { //nolint:unconvert // other widths on other processors
		return name
	}
	return fmt.Sprintf("type %#x", s.Type)
}

// processor names the CPU and the kernel.
func processor() string {
	model := "unknown CPU"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		model += ", Linux " + strings.TrimSpace(string(data))
	}
	return model
}

// tie makes the kernel kill cmd when the thread that starts it is gone, and keeps signals of the terminal from it: this
// process tells it when to stop.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// checkFiles refuses more connections than the process may have files; Go has raised its limit as far as it goes.
func checkFiles(connections int) error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return nil //nolint:nilerr // then the first socket too many tells
	}
	if need := uint64(connections) + spareFiles; r.Max < need { //nolint:unconvert // other widths on other systems
		return fmt.Errorf("%d connections need %d open files and the limit is %d: raise it (ulimit -Hn)", connections, need, r.Max)
	}
	return nil
}

const spareFiles = 500 // of the server, for its databases and its log
