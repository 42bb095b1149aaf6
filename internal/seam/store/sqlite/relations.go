package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Relations implements store.Relations. Owner: user.
type Relations struct{ db *DB }

var _ store.Relations = Relations{}

// Relations returns the part of db that says how users stand to each other.
func (db *DB) Relations() Relations { return Relations{db} }

const (
	relationColumns = `r.user_id, r.peer_id, r.friend, r.friend_since, r.remark, r.tags, r.starred, r.requested_at,
		r.request_message, r.blocked, r.blocked_at, r.withheld, r.pending`
	queryRelation = `SELECT ` + relationColumns + ` FROM relation r WHERE r.user_id = ?1 AND r.peer_id = ?2`
	queryFriends  = `SELECT ` + relationColumns + ` FROM relation r INDEXED BY relation_friend
		WHERE r.user_id = ?1 AND r.friend = 1 AND r.peer_id > ?2 ORDER BY r.peer_id LIMIT ?3`
	queryFriendIDs = `SELECT peer_id FROM relation WHERE user_id = ?1 AND friend = 1`
	queryOutgoing  = `SELECT ` + relationColumns + ` FROM relation r WHERE r.user_id = ?1 AND r.requested_at <> 0
		AND (r.requested_at, r.peer_id) < (?2, ?3) ORDER BY r.requested_at DESC, r.peer_id DESC LIMIT ?4`
	queryBlocks = `SELECT ` + relationColumns + ` FROM relation r WHERE r.user_id = ?1 AND r.blocked = 1
		AND (r.blocked_at, r.peer_id) < (?2, ?3) ORDER BY r.blocked_at DESC, r.peer_id DESC LIMIT ?4`
	queryIncoming = `SELECT ?1, p.user_id, ifnull(r.friend, 0), ifnull(r.friend_since, 0), ifnull(r.remark, ''),
		ifnull(r.tags, 'null'), ifnull(r.starred, 0), p.requested_at, p.request_message, ifnull(r.blocked, 0),
		ifnull(r.blocked_at, 0), ifnull(r.withheld, 'null'), ifnull(r.pending, '')
		FROM relation p LEFT JOIN relation r ON r.user_id = ?1 AND r.peer_id = p.user_id
		WHERE p.peer_id = ?1 AND p.requested_at <> 0
		AND (p.requested_at, p.user_id) < (?2, ?3) ORDER BY p.requested_at DESC, p.user_id DESC LIMIT ?4`
	queryUnsettled = `SELECT ` + relationColumns + ` FROM relation r WHERE r.pending <> '' AND r.pending > ?1 ORDER BY r.pending LIMIT ?2`
)

func scanRelation(r row, v *store.Relation) error {
	return r.Scan(&v.User, &v.Peer, &v.Friend, stamp{&v.FriendSince}, &v.Remark, jsonText{&v.Tags}, &v.Starred,
		stamp{&v.RequestedAt}, &v.RequestMessage, &v.Blocked, stamp{&v.BlockedAt}, jsonText{&v.Withheld}, &v.Pending)
}

// relation returns one side of a pair; if it is not stored it is zero but for its names.
func relation(ctx context.Context, q querier, u, peer chat.UserID) (store.Relation, error) {
	r, err := one(ctx, q, scanRelation, queryRelation, u, peer)
	if errors.Is(err, store.ErrNotFound) {
		return store.Relation{User: u, Peer: peer}, nil
	}
	return r, err
}

const queryPair = `SELECT ` + relationColumns + ` FROM relation r
	WHERE (r.user_id = ?1 AND r.peer_id = ?2) OR (r.user_id = ?2 AND r.peer_id = ?1)`

// Get implements store.Relations.
func (s Relations) Get(ctx context.Context, a, b chat.UserID) (ab, ba store.Relation, err error) {
	ab, ba = store.Relation{User: a, Peer: b}, store.Relation{User: b, Peer: a}
	rs, err := list(ctx, s.db, scanRelation, queryPair, a, b) // one query: both sides of the same moment
	if err != nil {
		return ab, ba, fmt.Errorf("read relation of %s and %s: %w", a, b, err)
	}
	for _, r := range rs {
		if r.User == a {
			ab = r
		} else {
			ba = r
		}
	}
	return ab, ba, nil
}

// Update implements store.Relations. change runs in the writer's goroutine.
func (s Relations) Update(ctx context.Context, a, b chat.UserID, change func(ab, ba *store.Relation) error) (
	ab, ba store.Relation, err error,
) {
	if a == b {
		return ab, ba, fmt.Errorf("update relation of %s: with oneself", a)
	}
	var refused error
	err = s.db.w.write(ctx, func(t *tx) (err error) {
		if ab, err = relation(ctx, t, a, b); err != nil {
			return err
		}
		if ba, err = relation(ctx, t, b, a); err != nil {
			return err
		}
		if refused = change(&ab, &ba); refused != nil {
			return refused
		}
		ab.User, ab.Peer, ba.User, ba.Peer = a, b, b, a
		if err := t.putRelation(ab); err != nil {
			return err
		}
		return t.putRelation(ba)
	})
	switch {
	case refused != nil:
		return store.Relation{}, store.Relation{}, refused
	case err != nil:
		return store.Relation{}, store.Relation{}, fmt.Errorf("update relation of %s and %s: %w", a, b, err)
	}
	return ab, ba, nil
}

func (t *tx) putRelation(r store.Relation) error {
	if blank(r) {
		_, err := t.exec(`DELETE FROM relation WHERE user_id = ? AND peer_id = ?`, r.User, r.Peer)
		return err
	}
	_, err := t.exec(`INSERT OR REPLACE INTO relation (user_id, peer_id, friend, friend_since, remark, tags, starred,
		requested_at, request_message, blocked, blocked_at, withheld, pending)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, r.User, r.Peer, r.Friend, millis(r.FriendSince), r.Remark,
		jsonOf(r.Tags), r.Starred, millis(r.RequestedAt), r.RequestMessage, r.Blocked, millis(r.BlockedAt),
		jsonOf(r.Withheld), r.Pending)
	return err
}

// blank reports whether r says nothing, so that it need not be stored.
func blank(r store.Relation) bool {
	return !r.Friend && r.FriendSince.IsZero() && r.Remark == "" && len(r.Tags) == 0 && !r.Starred &&
		r.RequestedAt.IsZero() && r.RequestMessage == "" && !r.Blocked && r.BlockedAt.IsZero() &&
		len(r.Withheld) == 0 && r.Pending == ""
}

// List implements store.Relations.
func (s Relations) List(ctx context.Context, u chat.UserID, kind store.RelationKind, cursor string, limit int) (
	rs []store.Relation, next string, err error,
) {
	if limit <= 0 {
		return nil, "", nil
	}
	if kind == store.Friends {
		rs, err = list(ctx, s.db, scanRelation, queryFriends, u, cursor, limit+1)
	} else {
		query := map[store.RelationKind]string{
			store.IncomingRequests: queryIncoming, store.OutgoingRequests: queryOutgoing, store.Blocks: queryBlocks,
		}[kind]
		at, peer, bad := parsePlace(cursor)
		if bad != nil {
			return nil, "", bad
		}
		rs, err = list(ctx, s.db, scanRelation, query, u, at, peer, limit+1)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list relations of %s: %w", u, err)
	}
	if len(rs) > limit {
		rs = rs[:limit]
		next = place(kind, rs[limit-1])
	}
	return rs, next, nil
}

// place returns the cursor after r: the peer's id, for lists by time after the time in ms and '~'.
func place(kind store.RelationKind, r store.Relation) string {
	at := r.RequestedAt
	switch kind {
	case store.Friends:
		return string(r.Peer)
	case store.Blocks:
		at = r.BlockedAt
	case store.IncomingRequests, store.OutgoingRequests:
	}
	return strconv.FormatInt(millis(at), 36) + "~" + string(r.Peer)
}

// parsePlace returns what place put into a cursor of a list by time; none is above everything.
func parsePlace(cursor string) (at int64, peer string, err error) {
	if cursor == "" {
		return 1<<63 - 1, "", nil
	}
	ms, peer, ok := strings.Cut(cursor, "~")
	at, err = strconv.ParseInt(ms, 36, 64)
	if !ok || err != nil {
		return 0, "", fault.InvalidField("cursor", "one that an earlier answer gave")
	}
	return at, peer, nil
}

// FriendIDs implements store.Relations.
func (s Relations) FriendIDs(ctx context.Context, u chat.UserID) ([]chat.UserID, error) {
	ids, err := list(ctx, s.db, scanString[chat.UserID], queryFriendIDs, u)
	if err != nil {
		return nil, fmt.Errorf("list friends of %s: %w", u, err)
	}
	return ids, nil
}

// Pending implements store.Relations.
func (s Relations) Pending(ctx context.Context, after string, limit int) ([]store.Relation, error) {
	rs, err := list(ctx, s.db, scanRelation, queryUnsettled, after, max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("list pending relations: %w", err)
	}
	return rs, nil
}
