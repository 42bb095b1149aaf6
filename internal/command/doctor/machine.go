package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/internal/finding"
)

// Embedded is what a process with embedded parts keeps on its own disk.
type Embedded struct {
	DataDir    string
	SyncAlways bool // log.sync: always
}

const (
	leastSpace  = 1 << 30 // bytes; below it the log soon refuses
	writes      = 50      // that the time of a sync is measured by
	writeSize   = 4 << 10
	measureFor  = time.Second
	slowSync    = 10 * time.Millisecond
	leastFiles  = 4096 // that any service may want to open
	otherFiles  = 1000 // that a gateway opens besides its clients
	checkFolder = "data_dir"
)

// diagnose looks at the data directory. One that is not there yet is judged by the directory that it will be made in.
func (e Embedded) diagnose(ctx context.Context) []finding.Finding {
	dir, err := existing(e.DataDir)
	if err != nil {
		return []finding.Finding{finding.Bad(checkFolder, finding.Text(err), "correct data_dir")}
	}
	name := checkFolder + " " + e.DataDir
	took, err := syncs(ctx, dir)
	if err != nil {
		return []finding.Finding{finding.Bad(name, "cannot be written: "+finding.Text(err), "give it to the user that runs OceanChat, or make room")}
	}
	written := finding.Good(name, "can be written")
	if dir != filepath.Clean(e.DataDir) {
		written = finding.Good(name, "is not there yet, and can be made")
	}
	return append([]finding.Finding{written, e.speed(took)}, disk(dir)...)
}

// existing returns the directory itself or the one above that exists.
func existing(dir string) (string, error) {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		i, err := os.Stat(dir)
		switch {
		case err == nil && !i.IsDir():
			return "", fmt.Errorf("%s is no directory", dir)
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			return "", err
		}
	}
}

// syncs writes to a file of its own and returns how long each write took to reach the disk.
func syncs(ctx context.Context, dir string) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, writeSize)
	for end := time.Now().Add(measureFor); len(took) < writes && time.Now().Before(end) && ctx.Err() == nil; {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	if len(took) == 0 {
		return nil, errors.New("no write reached the disk in time")
	}
	slices.Sort(took)
	return took, nil
}

func (e Embedded) speed(took []time.Duration) finding.Finding {
	const check = "data_dir sync"
	half, most := took[len(took)/2], took[len(took)-1]
	found := fmt.Sprintf("a write reaches the disk in %s, of %d the slowest in %s", finding.Round(half), len(took), finding.Round(most))
	if e.SyncAlways && half > slowSync {
		return finding.Warn(check, found+"; each message waits for it", "use a faster disk, or log.sync: interval if a power cut may lose messages")
	}
	return finding.Good(check, "%s", found)
}

func disk(dir string) (found []finding.Finding) {
	const check = "data_dir space"
	free, total, kind, ok := space(dir)
	if !ok {
		return nil
	}
	state := fmt.Sprintf("%s of %s free", finding.Bytes(free), finding.Bytes(total))
	switch {
	case free < leastSpace:
		found = append(found, finding.Bad(check, state, "make room: when the disk is full, sending fails"))
	case free < total/10:
		found = append(found, finding.Warn(check, state, "make room soon"))
	default:
		found = append(found, finding.Good(check, "%s", state))
	}
	if kind != "" {
		found = append(found, finding.Warn(check, kind, "move data_dir to a disk of this machine"))
	}
	return found
}

// limits judges what the system allows a process.
func limits(connections int) []finding.Finding {
	const check = "open files"
	most, ok := openFiles()
	if !ok {
		return nil
	}
	const do = "raise the limit (LimitNOFILE of a systemd unit, ulimit -n)"
	switch {
	case connections > 0 && most < uint64(connections)+otherFiles:
		return []finding.Finding{finding.Warn(check, fmt.Sprintf("at most %d, and ws_gateway.max_connections is %d", most, connections),
			do+fmt.Sprintf(" to %d, or lower the setting, so that clients go to another instance before this one fails", connections+otherFiles))}
	case most < leastFiles:
		return []finding.Finding{finding.Warn(check, fmt.Sprintf("at most %d", most), do)}
	}
	return []finding.Finding{finding.Good(check, "at most %d", most)}
}
