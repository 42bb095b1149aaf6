// Package wire is the public contract's encodings: the one JSON codec of all doors, query strings, the JSON-RPC
// envelope, the protobuf frames of the binary doors, the error object, and the registry of public methods, which it
// reads from the generated descriptors. It does no I/O, calls nobody and knows no business.
//
// It keeps invariant 8 for everything that a client sends: bad input becomes a fault that names the field and the rule,
// in bounded time and memory, and what it writes is always valid UTF-8 and valid JSON.
package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// Form is how packets of a long connection are encoded. The numbers are those of oceanchat.router.v1.Form. Gateway and
// router work through its methods, so that one code path serves all forms.
type Form int8

// The forms of a long connection.
const (
	JSON  Form = 1 // JSON-RPC 2.0: subprotocol oceanchat.json
	Proto Form = 2 // wirev1 frames: subprotocol oceanchat.proto, and TCP
)

// Valid reports whether f is a form that there is.
func (f Form) Valid() bool { return f == JSON || f == Proto }

// Parse reads the envelope of a client's packet and leaves the params as they are. Errors are *EnvelopeError. Params of
// the request may share memory with the packet.
func (f Form) Parse(packet []byte) (Request, error) {
	if f == Proto {
		return parseFrame(packet)
	}
	return ParseEnvelope(packet)
}

// Result appends the packet that answers request id with an encoded result.
func (f Form) Result(dst []byte, id ID, result []byte) []byte {
	if f == Proto {
		return appendReply(dst, id, replyResult, result)
	}
	return AppendResult(dst, id, result)
}

// Error appends the packet that answers request id with an error. number is its JSON-RPC number, see Number; the binary
// form has no place for it and, where there is no id, says 0.
func (f Form) Error(dst []byte, id ID, e *wirev1.Error, number int) []byte {
	if f == Proto {
		return appendReply(dst, id, replyError, mustMarshal(e))
	}
	return AppendError(dst, id, e, number)
}

// Push appends the packet of a push with encoded params.
func (f Form) Push(dst []byte, method string, params []byte) []byte {
	if f == Proto {
		return appendPushFrame(dst, method, params)
	}
	return AppendPush(dst, method, params)
}

// EntryPush appends the push "entry" with number n around an encoded entry, so that an entry is encoded once per form
// and only its number per connection.
func (f Form) EntryPush(dst []byte, n uint64, entry []byte) []byte {
	if f == Proto {
		return appendEntryFrame(dst, n, entry)
	}
	return appendEntryPush(dst, n, entry)
}

// Append appends m, the params or result of a method.
func (f Form) Append(dst []byte, m proto.Message) ([]byte, error) {
	if f == Proto {
		return proto.MarshalOptions{}.MarshalAppend(dst, m)
	}
	return AppendJSON(dst, m)
}

// Decode reads the params of a method into m, whose fields are reset first. Errors are faults, as from UnmarshalJSON, for
// the same values in every form.
func (f Form) Decode(data []byte, m proto.Message) error {
	if f == JSON {
		return UnmarshalJSON(data, m)
	}
	err := proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}.Unmarshal(data, m)
	if err != nil {
		return fault.Wrap(err, fault.Malformed, "not a message of type %s", m.ProtoReflect().Descriptor().Name())
	}
	r := m.ProtoReflect()
	if b := (*broken)(nil); errors.As(planOf(r.Descriptor()).check(r), &b) {
		return fault.InvalidField(b.path, b.rule)
	}
	return nil
}

// String returns the name of f for logs.
func (f Form) String() string {
	switch f {
	case JSON:
		return "json"
	case Proto:
		return "proto"
	}
	return fmt.Sprintf("Form(%d)", int8(f))
}
