package jetstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// The server's error codes that the driver has no name for.
const (
	codeAccountFull  js.ErrorCode = 10002 // the account's limit of storage
	codeInsufficient js.ErrorCode = 10023 // the server's limit of storage
	codeMemoryFull   js.ErrorCode = 10028
	codeStorageFull  js.ErrorCode = 10047
	codeStoreFailed  js.ErrorCode = 10077 // its description says why
)

// The descriptions of codeStoreFailed that are certain.
const (
	storeMaxBytes = "maximum bytes exceeded"
	storeMaxMsgs  = "maximum messages exceeded"
	storeTooLarge = "message too large"
)

// outcome says what an awaited publish came to. nil is committed. An error that matches one of the
// seam's is not committed, and that is certain: the server answered, and it answers so only before
// it stores. Everything else is unknown, also when no server listened: the request may have been
// routed on a connection that broke. A publish that is unknown may still be stored later.
func outcome(err error) error {
	if err == nil {
		return nil
	}
	var api *js.APIError
	if errors.As(err, &api) {
		return answered(api)
	}
	if errors.Is(err, nats.ErrMaxPayload) { // the driver kept it back
		return fmt.Errorf("%w: %w", backbone.ErrRefused, err)
	}
	return fmt.Errorf("outcome unknown: %w", err)
}

// publishOptions are those of every awaited publish. A stream of replicas that was just made, or is
// between two leaders, is not heard of for a moment; only then does the driver send again, and that
// is safe, as nobody got the first one.
func publishOptions(stream string) []js.PublishOpt {
	return []js.PublishOpt{js.WithExpectStream(stream), js.WithRetryWait(100 * time.Millisecond), js.WithRetryAttempts(5)}
}

func answered(api *js.APIError) error {
	switch api.ErrorCode {
	case js.JSErrCodeStreamWrongLastSequence, js.JSErrCodeStreamWrongLastSequenceConstant:
		return fmt.Errorf("%w: %w", backbone.ErrConflict, api)
	case codeAccountFull, codeInsufficient, codeMemoryFull, codeStorageFull:
		return fmt.Errorf("%w: %w", backbone.ErrFull, api)
	case codeStoreFailed:
		switch api.Description {
		case storeMaxBytes, storeMaxMsgs:
			return fmt.Errorf("%w: %w", backbone.ErrFull, api)
		case storeTooLarge:
			return fmt.Errorf("%w: %w", backbone.ErrRefused, api)
		}
	default:
		if api.Code >= 400 && api.Code < 500 { // the request is at fault, so nothing was done
			return fmt.Errorf("%w: %w", backbone.ErrRefused, api)
		}
	}
	return fmt.Errorf("outcome unknown: %w", api)
}
