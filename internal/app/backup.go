package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// databaseFile is where one process keeps its database, in the data directory.
const databaseFile = "oceanchat.db"

// copyDatabase implements backup.Copy.
func copyDatabase(ctx context.Context, settings, env []string, to string) (int64, error) {
	var cfg Config
	loaded, err := config.Load(&cfg, config.Sources{Args: settings, Env: env, Others: others})
	if err != nil {
		return 0, err
	}
	if len(loaded.Args) > 0 {
		return 0, fmt.Errorf("%q is no setting", loaded.Args[0])
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
