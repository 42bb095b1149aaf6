package sqlite_test

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// A push token that an earlier version stored names no session: the time tells.
func TestMigratePushToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = old.Exec(sqlite.Script(2) + `; INSERT INTO push_token (user_id, device_id, provider, token, app_id, environment, language, registered_at)
		VALUES ('ann', 'phone', 1, 't', 'app', 1, 'de', 5)`)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	db, ctx := openDB(t, path), t.Context()
	for _, end := range []struct {
		at   int64
		left int
	}{{4, 1}, {5, 0}} {
		if err := db.PushTokens().EndSession(ctx, "ann", "phone", "s1", time.UnixMilli(end.at)); err != nil {
			t.Fatal(err)
		}
		if ts, err := db.PushTokens().OfUsers(ctx, []chat.UserID{"ann"}); err != nil || len(ts) != end.left {
			t.Errorf("after the end of s1 at %d: tokens %v, %v; want %d", end.at, ts, err, end.left)
		}
	}
}

// A change that was pending when the first schema was left comes before all others, and can be completed.
func TestMigratePendingChange(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = old.Exec(sqlite.Script(1) + `; INSERT INTO chat_group VALUES ('g1', 'G', '', '', '', 'ann', 1, 1, 0, 0, 5, 0, 0, 3, x'626567756e');
		INSERT INTO member VALUES ('g1', 'ann', 3, 0, '', 5, '[]', 5, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	db, ctx := openDB(t, path), t.Context()
	begun, err := db.Groups().Unfinished(ctx, store.Begun{}, 9)
	if d := cmp.Diff([]store.Begun{{GroupID: "g1"}}, begun); err != nil || d != "" {
		t.Errorf("Unfinished = %v (-want +got):\n%s", err, d)
	}
	if ids, err := db.Groups().UnfinishedOf(ctx, "ann"); err != nil || len(ids) != 1 {
		t.Errorf("UnfinishedOf(ann) = %v, %v; want g1", ids, err)
	}
	gs, err := db.Groups().Get(ctx, []chat.GroupID{"g1"})
	if err != nil || len(gs) != 1 || string(gs[0].Pending) != "begun" || gs[0].Version != 3 {
		t.Fatalf("Get = %v, %v; want g1 with its change", gs, err)
	}
	if err := db.Groups().Commit(ctx, gs[0], nil); err != nil {
		t.Fatal(err)
	}
	if begun, err := db.Groups().Unfinished(ctx, store.Begun{}, 9); err != nil || len(begun) != 0 {
		t.Errorf("Unfinished after Commit = %v, %v; want none", begun, err)
	}
}

// What was released never changes: files that it made are out there. A new migration gets a line here.
func TestReleasedMigrations(t *testing.T) {
	t.Parallel()
	sums := []string{
		"814e9b8f4f9888d4",
		"a11f9e0c64d5e565",
		"4d5c381972c34533",
	}
	if got := sqlite.Schemas(); got != len(sums) {
		t.Fatalf("there are %d schemas and %d sums: add a line", got, len(sums))
	}
	for i, want := range sums {
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(sqlite.Script(i+1))))[:16]; got != want {
			t.Errorf("the script of schema %d has the sum %s; want %s: add a migration, and leave the released ones as they are", i+1, got, want)
		}
	}
}
