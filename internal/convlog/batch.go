package convlog

import (
	"errors"
	"fmt"
	"hash/fnv"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
)

// Schema is the number that batches of this version carry. Readers take every schema whose protobuf they can parse.
const Schema = 1

// ErrCorrupt says that a message of the log is no batch. It is stored raw and passed.
var ErrCorrupt = errors.New("convlog: not a batch")

// A BatchID names one attempt to append, unique over all appenders: 8 random bytes of the appender, then its count.
type BatchID [16]byte

// EncodeBatch returns the bytes of one message of the log.
func EncodeBatch(id BatchID, entries []*flowv1.LogEntry) ([]byte, error) {
	b, err := proto.Marshal(&flowv1.LogBatch{Schema: Schema, Id: id[:], Entries: entries})
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	return b, nil
}

// DecodeBatch returns the entries of one message of the log. An error is ErrCorrupt. Conversations of a kind that a newer
// version knows pass: who skipped their batch would number the others in it again.
func DecodeBatch(data []byte) (BatchID, []*flowv1.LogEntry, error) {
	var b flowv1.LogBatch
	if err := proto.Unmarshal(data, &b); err != nil {
		return BatchID{}, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if b.Schema == 0 || len(b.Id) != len(BatchID{}) || len(b.Entries) == 0 {
		return BatchID{}, nil, fmt.Errorf("%w: schema %d, %d bytes of id, %d entries", ErrCorrupt, b.Schema, len(b.Id), len(b.Entries))
	}
	for i, e := range b.Entries {
		if e.GetEntry().GetSeq() == 0 || e.GetEntry().GetConversationId() == "" {
			return BatchID{}, nil, fmt.Errorf("%w: entry %d has no place", ErrCorrupt, i)
		}
	}
	return BatchID(b.Id), b.Entries, nil
}

// Raises reports whether e raises the unread number: content, the announcement and what stands in an inbox do.
func Raises(e *messagev1.Entry) bool {
	switch e.GetKind() {
	case messagev1.EntryKind_ENTRY_KIND_NOTICE:
		return e.GetNotice().GetType() == messagev1.NoticeType_NOTICE_TYPE_ANNOUNCEMENT
	case messagev1.EntryKind_ENTRY_KIND_HIDDEN, messagev1.EntryKind_ENTRY_KIND_UNSPECIFIED:
		return false
	default: // also kinds of a newer version
		return true
	}
}

// MovesCursor reports whether e reads the conversation up to itself for its sender: messages do, notices and what
// services put into an inbox do not.
func MovesCursor(e *messagev1.Entry) bool {
	return Raises(e) && e.GetKind() != messagev1.EntryKind_ENTRY_KIND_NOTICE &&
		chat.ConversationID(e.GetConversationId()).Kind() != chat.KindInbox
}

// BodyHash tells the bodies of two entries with the same clientMsgId apart: FNV-1a over kind, body and replyTo.
func BodyHash(e *messagev1.Entry) uint64 {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(
		&messagev1.Entry{Kind: e.GetKind(), Body: e.GetBody(), ReplyTo: e.ReplyTo})
	if err != nil {
		return 0 // only for invalid UTF-8, which no door lets in
	}
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

// Dedupe is the hash under which the database finds (sender, conversation, clientMsgId); it is the same for ever.
func Dedupe(sender chat.UserID, c chat.ConversationID, clientMsgID string) uint64 {
	h := fnv.New64a()
	for _, s := range [...]string{string(sender), "\x00", string(c), "\x00", clientMsgID} {
		_, _ = h.Write([]byte(s))
	}
	return h.Sum64()
}
