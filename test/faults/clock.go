package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// clocked are the services whose clock is stepped: those that number, time, lease and store.
var clocked = []string{"message", "ws-gateway", "presence", "orchestrator", "persistence", "auth"}

// clockFile is where a process with a clock that can be stepped reads by how many seconds, ten times a second.
const clockFile = "FAULTS_CLOCK_FILE"

// The standard library's clock, and the same with a step. Only the time of day steps; the monotonic clock runs on, as it does when
// somebody sets a machine's clock.
const (
	nowBefore = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	nowAfter  = "var Stepped atomic.Int64\n\n" + nowBefore + "\tsec += Stepped.Load()\n"
	main2     = `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	path := os.Getenv("` + clockFile + `")
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			text, _ := os.ReadFile(path)
			if sec, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				time.Stepped.Store(sec)
			}
		}
	}()
}
`
)

// buildClocked builds, once, a binary of these sources over a standard library whose time of day can be stepped.
func (w *world) buildClocked(ctx context.Context) (err error) {
	if w.clockedBinary == "" {
		w.clockedBinary, err = buildClocked(ctx, w.dir)
	}
	return err
}

func buildClocked(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the standard library: %w", err)
	}
	std := filepath.Join(string(bytes.TrimSpace(root)), "src", "time", "time.go")
	text, err := os.ReadFile(std)
	if err != nil {
		return "", err
	}
	stepped := bytes.Replace(text, []byte(nowBefore), []byte(nowAfter), 1)
	stepped = bytes.Replace(stepped, []byte("import (\n"), []byte("import (\n\t\"sync/atomic\"\n"), 1)
	if bytes.Equal(stepped, text) || !bytes.Contains(stepped, []byte(nowAfter)) {
		return "", errors.New("the standard library's clock is another one than this program knows")
	}
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	files := map[string][]byte{std: stepped, filepath.Join(here, "cmd", "oceanchat", "clock.go"): []byte(main2)}
	replace, n := map[string]string{}, 0
	for path, content := range files {
		n++
		replace[path] = filepath.Join(dir, fmt.Sprintf("overlay-%d.go", n))
		if err := os.WriteFile(replace[path], content, 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list, out := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "oceanchat-clocked")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", list, "-o", out, "./cmd/oceanchat")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with a clock that can be stepped: %w: %s", err, text)
	}
	return out, nil
}

// clockOf is the file that a process's clock follows.
func clockOf(dir, name string) string { return filepath.Join(dir, name+".clock") }

// stepped runs a process with a clock that is set forward, back, and right again, while it works.
func (w *world) stepped(p *local.Process, by time.Duration) func(context.Context, *runner) error {
	return func(ctx context.Context, r *runner) error {
		set := func(d time.Duration) error {
			return os.WriteFile(clockOf(w.dir, p.Name), fmt.Appendln(nil, int64(d.Seconds())), 0o600)
		}
		if err := errors.Join(set(0), w.as(ctx, p, w.clockedBinary)); err != nil {
			return err
		}
		for _, d := range []time.Duration{by, -by, 0} {
			if err := set(d); err != nil {
				return err
			}
			if err := sleep(ctx, r.shorter(8*time.Second, 4*time.Second)); err != nil {
				return err
			}
		}
		return errors.Join(w.as(ctx, p, w.binary), w.inOrder(ctx))
	}
}

// as ends a process politely and starts it as another binary.
func (w *world) as(ctx context.Context, p *local.Process, binary string) error {
	if err := ended(p); err != nil {
		return err
	}
	p.Use(binary)
	return again(ctx, p)
}

// inOrder fails if the time of an entry of the group of all falls behind the one before it.
func (w *world) inOrder(ctx context.Context) error {
	var last time.Time
	for after, more := uint64(0), true; more; {
		var page struct {
			Entries []struct {
				Seq    uint64
				SentAt time.Time
			}
			ToSeq   uint64
			HasMore bool
		}
		path := fmt.Sprintf("/conversations/g~%s/entries?afterSeq=%d&limit=100", w.fleet.Group, after)
		if err := w.reader.Do(ctx, "GET", path, nil, &page); err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.SentAt.Before(last) {
				return fmt.Errorf("entry %d was sent at %s, before the one before it at %s", e.Seq, e.SentAt, last)
			}
			last = e.SentAt
		}
		more, after = page.HasMore, page.ToSeq
	}
	return nil
}
