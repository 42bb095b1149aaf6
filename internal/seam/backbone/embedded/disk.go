package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// outOfSpace tells from the text of a server's error, which is all there is of it, whether the disk
// or a quota is full.
func outOfSpace(err error) bool {
	for _, s := range []string{"no space left", "quota exceeded", "file too large", "not enough space"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

// trialSize is more than a batch with all that JetStream writes beside it.
const trialSize = 1 << 20

// trialWrite tells whether the disk takes a file of trialSize.
func trialWrite(dir string) (err error) {
	f, err := os.CreateTemp(dir, "trial-*")
	if err != nil {
		return fmt.Errorf("trial write: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, trialSize)); err != nil {
		return fmt.Errorf("trial write: %w", err)
	}
	return f.Sync()
}

// sweepUnborn removes the folders of streams whose creation was cut off before its description was
// written, so before anything could be stored. The server would skip them at each start.
func sweepUnborn(store string) error {
	metas, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "*"))
	if err != nil {
		return fmt.Errorf("look for streams: %w", err)
	}
	for _, dir := range metas {
		if !unborn(dir) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the remains of a stream's creation: %w", err)
		}
	}
	trials, err := filepath.Glob(filepath.Join(store, "trial-*"))
	for _, t := range trials {
		err = errors.Join(err, os.Remove(t))
	}
	return err
}

func unborn(dir string) bool {
	for _, name := range []string{"meta.inf", "meta.sum"} {
		if i, err := os.Stat(filepath.Join(dir, name)); err != nil || i.Size() == 0 {
			blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
			return err == nil && allEmpty(blocks)
		}
	}
	return false
}

func allEmpty(files []string) bool {
	for _, f := range files {
		if i, err := os.Stat(f); err != nil || i.Size() > 0 {
			return false
		}
	}
	return true
}
