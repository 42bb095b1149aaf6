package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The probe of the disk ends after so many writes or so long, whatever comes first.
const (
	probeWrites = 300
	probeTime   = 3 * time.Second
	probeBytes  = 4096
)

// probe measures how long a 4 KiB write to the end of a file in dir takes when it waits for the disk (O_DSYNC). A disk
// has moods: the latencies of a row are read beside the probe of the same minute.
func probe(dir string) (percentiles, error) {
	path := filepath.Join(dir, "probe")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syncFlag, 0o600)
	if err != nil {
		return percentiles{}, fmt.Errorf("probe the disk: %w", err)
	}
	defer func() { _ = os.Remove(path) }()
	defer func() { _ = f.Close() }()
	var took []time.Duration
	block := make([]byte, probeBytes)
	for begun := time.Now(); len(took) < probeWrites && time.Since(begun) < probeTime; {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return percentiles{}, fmt.Errorf("probe the disk: %w", err)
		}
		took = append(took, time.Since(at))
	}
	return percentilesOf(took), nil
}

// copyDir copies a data directory of a server that has ended.
func copyDir(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy a data directory: %w", err)
	}
	return nil
}

// tail returns the end of a file, for telling what a server said last.
func tail(path string, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-n), io.SeekStart)
	}
	data, _ := io.ReadAll(f)
	return string(data)
}
