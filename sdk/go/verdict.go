package oceanchat

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/sdk/go/internal/link"
)

const (
	backoffUnit  = 500 * time.Millisecond
	backoffMax   = 20 * time.Second
	tooManyFloor = 5 * time.Second  // after 4008
	steadyAfter  = 30 * time.Second // online for so long, the back-off starts anew
	unknownTries = 3                // closes by an unknown code before the client stays away
)

// backoff returns a random time up to min(20 s, 0.5 s · 2^n).
func backoff(n int) time.Duration {
	limit := backoffMax
	if n < 6 {
		limit = min(limit, backoffUnit<<n)
	}
	return rand.N(limit) //nolint:gosec // to spread clients, no secret
}

// verdict says what follows the end of a connection.
type verdict struct {
	closed  Reason // set: stay away
	refresh bool   // get another access token first
	wipe    bool   // forget the session and the cache
	floor   time.Duration
	unknown bool // counts towards unknownTries
}

// judge applies the contract's table of close codes. bye is the push that came before, or nil; what it says of
// reconnecting wins.
func judge(err error, bye *wirev1.DisconnectPush) verdict {
	var closed *link.CloseError
	code := 0
	if errors.As(err, &closed) {
		code = closed.Code
	}
	if bye != nil {
		code = int(bye.GetCode())
	}
	v := byCode(code)
	if bye == nil {
		return v
	}
	v.floor = max(v.floor, time.Duration(bye.GetRetryAfterMs())*time.Millisecond)
	switch {
	case bye.GetReconnect():
		v.closed, v.wipe = "", false
	case v.closed == "":
		v.closed = Refused
	}
	return v
}

func byCode(code int) verdict {
	switch code {
	case 4001:
		return verdict{refresh: true}
	case 4002:
		return verdict{closed: SessionEnded, wipe: true}
	case 4003:
		return verdict{closed: Replaced}
	case 4004:
		return verdict{closed: ProtocolError}
	case 4005, 4006, 4007:
		return verdict{}
	case 4008:
		return verdict{floor: tooManyFloor}
	}
	return verdict{unknown: code >= 4000 && code < 5000}
}

// judgeRefusal is judge for a connect that was answered with an error, or a handshake that was.
func judgeRefusal(err error) verdict {
	var refused *Error
	var handshake *link.HandshakeError
	switch {
	case errors.As(err, &handshake):
		return verdict{floor: handshake.RetryAfter}
	case !errors.As(err, &refused):
		return verdict{}
	case refused.Reason == "SESSION_ENDED" || refused.Reason == "REFRESH_REUSED":
		return verdict{closed: SessionEnded, wipe: true}
	case refused.Code == "UNAUTHENTICATED":
		return verdict{refresh: true}
	case refused.definite():
		return verdict{closed: ProtocolError}
	}
	return verdict{floor: refused.RetryAfter}
}

// cause tells how a connection ended, for State.Err.
func cause(err error, bye *wirev1.DisconnectPush) error {
	switch {
	case bye != nil:
		return fmt.Errorf("disconnected by the server: %d %s", bye.GetCode(), bye.GetReason())
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}
