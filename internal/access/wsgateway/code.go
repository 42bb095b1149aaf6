package wsgateway

import (
	"encoding/binary"
	"time"

	"github.com/gobwas/ws"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// closeCode is a close code of the public contract.
type closeCode int32

// The close codes; what a client does after each is fixed.
const (
	notAuthenticated closeCode = 4001
	sessionOver      closeCode = 4002
	displaced        closeCode = 4003
	protocolError    closeCode = 4004
	tooSlow          closeCode = 4005
	draining         closeCode = 4006
	idle             closeCode = 4007
	tooMany          closeCode = 4008
	byClient         closeCode = 1000 // the client closed, or its socket broke
)

// reconnects tells which closes a client should answer by connecting again, at once or after a refresh.
func (c closeCode) reconnects() bool {
	return c == notAuthenticated || c == tooSlow || c == draining || c == idle || c == tooMany
}

// farewell returns what is written last: the push disconnect and, where the door has such frames, a close.
func (c *conn) farewell(code closeCode, reason string) []item {
	var after time.Duration
	if code == draining {
		after = c.s.cfg.DrainRetryAfter
	} else if code == tooMany {
		after = tooManyAfter
	}
	items := []item{{op: c.door.data, body: c.encodePush("disconnect", &wirev1.DisconnectPush{
		Code: int32(code), Reason: reason, Reconnect: code.reconnects(), RetryAfterMs: after.Milliseconds(),
	})}}
	if c.door.controls {
		items = append(items, item{op: ws.OpClose, body: closeBody(code, reason)})
	}
	return items
}

// closeBody returns the payload of a close frame; reasons are short constants, cut to what a control frame holds.
func closeBody(code closeCode, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason[:min(len(reason), 123)]...)
}
