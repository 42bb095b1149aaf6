package embedded

import (
	"errors"
	"fmt"
	"os"
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

// Free returns which part of the data directory's disk is free, where the system tells.
func (s *Server) Free() (part float64, ok bool) {
	free, total, ok := diskSpace(s.dir)
	if !ok || total <= 0 {
		return 0, false
	}
	return float64(free) / float64(total), true
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
