package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// What the writer cannot decode is kept for a human, once per position of an incarnation.
func TestRawIsKept(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "ocean.db"))
	from := store.Mark{}
	for n, to := range []store.Mark{{Incarnation: "a", Position: 7}, {Incarnation: "a", Position: 7}, {Incarnation: "b", Position: 7}} {
		b := store.Batch{Partition: 1, From: from, To: to, Raw: []store.Raw{{Position: 7, Data: []byte("junk")}, {Position: 6}}}
		if err := db.Log().Store(t.Context(), b); err != nil {
			t.Fatalf("Store %d = %v; want nil", n, err)
		}
		from = to
	}
	var rows, junk int64
	err := db.Write(t.Context(), func(exec func(string, ...any) (int64, error)) (err error) {
		if junk, err = exec(`UPDATE raw SET data = data WHERE data = CAST('junk' AS BLOB) AND partition = 1 AND position = 7`); err != nil {
			return err
		}
		rows, err = exec(`DELETE FROM raw`)
		return err
	})
	if err != nil || junk != 2 || rows != 4 {
		t.Errorf("raw has %d rows, %d of them junk at 7 (%v); want 4, 2", rows, junk, err)
	}
}
