package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// applicationID stands in the file's header ("OChA") and says whose file it is.
const applicationID = 0x4f436841

// inspect refuses a file that is not ours, or too new, before anything is written to it. An empty file is ours.
func inspect(path string) (err error) {
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var app, version, tables int
	err = db.QueryRow(`SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return err
	case app == 0 && version == 0 && tables == 0:
		return nil
	case app != applicationID:
		return errForeign
	case version > len(migrations):
		return fmt.Errorf("its schema is version %d and this program knows up to %d; run the newer program, or "+
			"restore a backup made before it ran", version, len(migrations))
	}
	return nil
}

// migrate brings the schema up to date, each migration in a transaction of its own.
func migrate(ctx context.Context, c *sql.Conn) error {
	var version int
	if err := c.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	for n := version; n < len(migrations); n++ {
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
			migrations[n], applicationID, n+1)
		if _, err := c.ExecContext(ctx, script); err != nil {
			_, _ = c.ExecContext(ctx, "ROLLBACK") // none is open if the script failed before BEGIN
			return fmt.Errorf("migrate schema to version %d: %w", n+1, err)
		}
	}
	return nil
}

// migrations bring a file from version n to n+1. Append only: what was released never changes.
//
// Times are milliseconds since 1970, 0 for the zero time. Conversations are numbered (conv), since their names are up to
// 131 bytes long and stand in every index of entries.
var migrations = []string{
	0: `
CREATE TABLE secret (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, data BLOB NOT NULL) STRICT;

CREATE TABLE account (
	user_id TEXT NOT NULL PRIMARY KEY, username TEXT NOT NULL UNIQUE,
	password_hash TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
	id TEXT NOT NULL PRIMARY KEY, user_id TEXT NOT NULL, device_id TEXT NOT NULL, platform INTEGER NOT NULL,
	generation INTEGER NOT NULL, created_at INTEGER NOT NULL, refreshed_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
	UNIQUE (user_id, device_id)
) STRICT;

CREATE TABLE push_token (
	user_id TEXT NOT NULL, device_id TEXT NOT NULL, provider INTEGER NOT NULL, token TEXT NOT NULL, app_id TEXT NOT NULL,
	environment INTEGER NOT NULL, language TEXT NOT NULL, registered_at INTEGER NOT NULL,
	PRIMARY KEY (user_id, device_id)
) STRICT;
CREATE UNIQUE INDEX push_token_address ON push_token (token, provider, app_id);

CREATE TABLE profile (
	user_id TEXT NOT NULL PRIMARY KEY, username TEXT NOT NULL UNIQUE,
	nickname TEXT NOT NULL, nickname_key TEXT NOT NULL, avatar TEXT NOT NULL, bio TEXT NOT NULL,
	who_may_find INTEGER NOT NULL, who_may_add INTEGER NOT NULL, who_may_write INTEGER NOT NULL,
	last_seen INTEGER NOT NULL, push_preview INTEGER NOT NULL
) STRICT;
CREATE INDEX profile_nickname ON profile (nickname_key, user_id);

CREATE TABLE relation (
	user_id TEXT NOT NULL, peer_id TEXT NOT NULL, friend INTEGER NOT NULL, friend_since INTEGER NOT NULL,
	remark TEXT NOT NULL, tags TEXT NOT NULL, starred INTEGER NOT NULL,
	requested_at INTEGER NOT NULL, request_message TEXT NOT NULL,
	blocked INTEGER NOT NULL, blocked_at INTEGER NOT NULL, withheld TEXT NOT NULL, pending TEXT NOT NULL,
	PRIMARY KEY (user_id, peer_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX relation_friend ON relation (user_id, peer_id) WHERE friend = 1;
CREATE INDEX relation_incoming ON relation (peer_id, requested_at, user_id) WHERE requested_at <> 0;
CREATE INDEX relation_outgoing ON relation (user_id, requested_at, peer_id) WHERE requested_at <> 0;
CREATE INDEX relation_blocked ON relation (user_id, blocked_at, peer_id) WHERE blocked = 1;
CREATE INDEX relation_pending ON relation (pending) WHERE pending <> '';

CREATE TABLE chat_group (
	id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, avatar TEXT NOT NULL, description TEXT NOT NULL,
	announcement TEXT NOT NULL, owner_id TEXT NOT NULL, join_mode INTEGER NOT NULL, history_visibility INTEGER NOT NULL,
	mute_all INTEGER NOT NULL, dissolved INTEGER NOT NULL, created_at INTEGER NOT NULL, member_count INTEGER NOT NULL,
	notice_seq INTEGER NOT NULL, version INTEGER NOT NULL, pending BLOB
) STRICT;
CREATE INDEX chat_group_pending ON chat_group (id) WHERE pending IS NOT NULL;

CREATE TABLE member (
	group_id TEXT NOT NULL, user_id TEXT NOT NULL, role INTEGER NOT NULL, muted_until INTEGER NOT NULL,
	nickname TEXT NOT NULL, joined_at INTEGER NOT NULL, spans TEXT NOT NULL, changed_at INTEGER NOT NULL,
	present INTEGER NOT NULL,
	PRIMARY KEY (group_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_present ON member (group_id, role DESC, joined_at, user_id) WHERE present = 1;
CREATE INDEX member_user ON member (user_id);

CREATE TABLE conv (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE entry (
	conv INTEGER NOT NULL, seq INTEGER NOT NULL, ordinal INTEGER NOT NULL, sender TEXT NOT NULL,
	sent_at INTEGER NOT NULL, kind INTEGER NOT NULL, dedupe INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX entry_seq ON entry (conv, seq);

CREATE TABLE dedupe (
	conv INTEGER NOT NULL, hash INTEGER NOT NULL, seq INTEGER NOT NULL,
	PRIMARY KEY (conv, hash, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE dedupe_upto (one INTEGER PRIMARY KEY CHECK (one = 1), entry INTEGER NOT NULL) STRICT;
INSERT INTO dedupe_upto VALUES (1, 0);

CREATE TABLE head (
	conv INTEGER PRIMARY KEY, seq INTEGER NOT NULL, ordinal INTEGER NOT NULL, notice_seq INTEGER NOT NULL,
	sent_at INTEGER NOT NULL, position INTEGER NOT NULL
) STRICT;

CREATE TABLE read_cursor (
	conv INTEGER NOT NULL, user_id TEXT NOT NULL, seq INTEGER NOT NULL, ordinal INTEGER NOT NULL,
	changed_at INTEGER NOT NULL,
	PRIMARY KEY (conv, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE mention (
	user_id TEXT NOT NULL, conv INTEGER NOT NULL, seq INTEGER NOT NULL,
	PRIMARY KEY (user_id, conv, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE direct (
	user_id TEXT NOT NULL, conv INTEGER NOT NULL,
	PRIMARY KEY (user_id, conv)
) STRICT, WITHOUT ROWID;

CREATE TABLE mark (partition INTEGER PRIMARY KEY, incarnation TEXT NOT NULL, position INTEGER NOT NULL) STRICT;

CREATE TABLE raw (
	partition INTEGER NOT NULL, incarnation TEXT NOT NULL, position INTEGER NOT NULL, data BLOB NOT NULL,
	PRIMARY KEY (partition, incarnation, position)
) STRICT;

CREATE TABLE epoch (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL) STRICT;
INSERT INTO epoch VALUES (1, 1);
`,
	1: `
ALTER TABLE chat_group ADD COLUMN pending_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX chat_group_begun ON chat_group (pending_at, id) WHERE pending IS NOT NULL;

CREATE TABLE pending_user (
	user_id TEXT NOT NULL, group_id TEXT NOT NULL,
	PRIMARY KEY (user_id, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_user_group ON pending_user (group_id);
`,
	2: `
ALTER TABLE push_token ADD COLUMN session_id TEXT NOT NULL DEFAULT '';
`,
}
