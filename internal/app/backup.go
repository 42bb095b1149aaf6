package app

import (
	"context"
	"os"
	"path/filepath"

	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// databaseFile is where one process keeps its database, in the data directory.
const databaseFile = "oceanchat.db"

// copyDatabase implements backup.Copy.
func copyDatabase(ctx context.Context, settings, env []string, to string) (int64, error) {
	cfg, err := settingsOf(settings, env)
	if err != nil {
		return 0, err
	}
	if err := sqlite.Backup(ctx, filepath.Join(cfg.DataDir, databaseFile), to); err != nil {
		return 0, err
	}
	i, err := os.Stat(to)
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}
