package bench

import (
	"fmt"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"
)

// codec is one of the two subprotocols, as far as the load needs it. What happens for each message is written by hand
// and allocates next to nothing; everything else goes through the generated types.
type codec interface {
	// protocol is its name in the WebSocket's handshake.
	protocol() string
	// op is the type of its frames.
	op() ws.OpCode
	// request appends a request.
	request(dst []byte, id uint32, lane int, method string, params proto.Message) ([]byte, error)
	// sender returns what appends the sends of one connection to one conversation, all with the same text.
	sender(to target, text string) func(dst []byte, id uint32, clientMsgID []byte) []byte
	// ack appends an acknowledgement.
	ack(dst []byte, n uint64) []byte
	// parse reads a frame. What it returns is valid as long as frame.
	parse(frame []byte) (event, error)
	// result decodes an answer's result.
	result(e event, into proto.Message) error
}

var codecs = map[string]codec{"json": jsonCodec{}, "proto": protoCodec{}}

// target is where messages go: one of the two is set.
type target struct{ userID, groupID string }

// What a frame is.
type eventKind uint8

const (
	other  eventKind = iota // receipts, presence and whatever else comes
	answer                  // to a request
	entry                   // a push
)

// event is what the load sees of a frame.
type event struct {
	kind eventKind
	id   uint32 // of the request
	// refused is set for an answer that is an error; reason is then its reason.
	refused bool
	reason  string
	// retryAfter is what the refusal advises, in milliseconds; 0: nothing.
	retryAfter uint64
	body       []byte // of an answer: its result, or the error

	n           uint64 // of an entry push
	seq         uint64 // of an entry, or in the answer to a send
	messageID   []byte
	clientMsgID []byte // of an entry
}

// refusal is an error that the server answered.
type refusal struct {
	reason, body string
	retryAfter   uint64 // ms; 0: it does not say
}

func (r *refusal) Error() string { return fmt.Sprintf("refused: %s: %.300q", r.reason, r.body) }
