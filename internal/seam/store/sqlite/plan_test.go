package sqlite_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// Every read finds its rows by an index, and only the small results named here are sorted: a table scan or a sort that
// slips in costs nothing in tests and everything with a million rows.
func TestReadsUseIndexes(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	mayScan := map[string]string{ // query -> why
		"outbox":    "in the order of the key, stops at the limit",
		"waiting":   "of one row that need not be there",
		"unsettled": "of a partial index that holds nothing else",
	}
	maySort := map[string]string{
		"sessions of": "a user's few devices",
		"dedupe":      "at most 8,192 entries, nearly always one",
	}
	for name, query := range sqlite.Reads {
		plan, err := db.Plan(t.Context(), query)
		if err != nil {
			t.Errorf("plan of %s: %v", name, err)
			continue
		}
		for line := range strings.Lines(plan) {
			line = strings.TrimSpace(line)
			scan := strings.HasPrefix(line, "SCAN") && !strings.Contains(line, "VIRTUAL TABLE") && // json_each
				!strings.Contains(line, "CONSTANT ROW")
			if _, ok := mayScan[name]; scan && !ok {
				t.Errorf("%s scans: %s", name, line)
			}
			if _, ok := maySort[name]; strings.Contains(line, "TEMP B-TREE") && !ok {
				t.Errorf("%s sorts: %s", name, line)
			}
		}
	}
}
