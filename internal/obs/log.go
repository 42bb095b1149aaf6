// Package obs is how OceanChat is watched: log, metrics, and the handler of the operations port. It owns the names of
// log keys, so that a line of one service can be joined with another's; it has no global logger or registry, starts no
// goroutine and opens no port. What is secret never passes it: types mask themselves, and NewLogger masks by key what
// slips through (invariant 9).
package obs

import (
	"io"
	"log/slog"
	"slices"
	"strings"
)

// Keys of the log. A line uses these and no other spelling; what one line alone needs may have a key of its own.
const (
	Addr           = "addr"
	AttemptNo      = "attempt"
	ConnectionID   = "connection_id"
	ConversationID = "conversation_id"
	DeviceID       = "device_id"
	Epoch          = "epoch"
	Err            = "err"
	GatewayID      = "gateway_id"
	GroupID        = "group_id"
	MessageID      = "message_id"
	Method         = "method"
	Partition      = "partition"
	Path           = "path"
	Platform       = "platform"
	Process        = "process" // the targets that run together
	Reason         = "reason"  // of a fault, or why a connection closed
	RemoteAddr     = "remote_addr"
	RequestID      = "request_id"
	Seq            = "seq" // within a conversation
	Service        = "service"
	SessionID      = "session_id"
	Stream         = "stream"
	StreamSeq      = "stream_seq" // within a stream of the backbone
	Suppressed     = "suppressed" // lines that Every held back before this one
	Took           = "took"
	UserID         = "user_id"
	Vendor         = "vendor"
)

// Format is how lines of the log look.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// NewLogger returns a logger that writes lines of at least level to w, which need not be safe for concurrent use. Any
// format but JSON is Text. Values under a key that names a secret (password, token, authorization, …) become ***.
func NewLogger(w io.Writer, format Format, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: maskSecrets}
	if format == JSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// secretWords are last words of keys whose values must not be seen: access_token and token, but not token_id.
var secretWords = []string{"password", "secret", "token", "authorization", "cookie", "credentials", "text", "body"}

// maskSecrets is the second net: the first is not to log such a thing, or to give it a type with LogValue.
func maskSecrets(_ []string, a slog.Attr) slog.Attr {
	last := a.Key[strings.LastIndexByte(a.Key, '_')+1:]
	if slices.ContainsFunc(secretWords, func(w string) bool { return strings.EqualFold(w, last) }) {
		return slog.String(a.Key, "***")
	}
	return a
}
