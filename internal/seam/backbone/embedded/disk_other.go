//go:build !(linux || darwin || freebsd)

package embedded

import (
	"fmt"
	"os"
)

// diskSpace is not known on this system: there is no guard, only the restart after a failed write.
func diskSpace(string) (free, total int64, ok bool) { return 0, 0, false }

// lockDir makes dir; on this system nothing keeps a second process from it.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	return func() {}, nil
}
