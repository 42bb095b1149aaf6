package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/wire"
)

// jsonCodec is "oceanchat.json". It searches frames for members by name: the contract fixes the order of an envelope's
// first members and that there is no white space, and the load writes no text that looks like a member.
type jsonCodec struct{}

var _ codec = jsonCodec{}

// What the answers and pushes of interest begin with.
const (
	answerHead = `{"jsonrpc":"2.0","id":`
	entryHead  = `{"jsonrpc":"2.0","method":"entry","params":{"n":`
)

func (jsonCodec) protocol() string { return "oceanchat.json" }

func (jsonCodec) op() ws.OpCode { return ws.OpText }

func (jsonCodec) request(dst []byte, id uint32, lane int, method string, params proto.Message) ([]byte, error) {
	body, err := wire.MarshalJSON(params)
	if err == nil {
		body, err = withoutNulls(body)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	return fmt.Appendf(dst, `{"jsonrpc":"2.0","id":%d,"lane":%d,"method":%q,"params":%s}`, id, lane, method, body), nil
}

// withoutNulls drops what is not set: in a request null is a value.
func withoutNulls(object []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, err
	}
	maps.DeleteFunc(members, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	return json.Marshal(members)
}

func (jsonCodec) sender(to target, text string) func(dst []byte, id uint32, clientMsgID []byte) []byte {
	where := `","toUserId":"` + to.userID
	if to.groupID != "" {
		where = `","groupId":"` + to.groupID
	}
	rest := where + `","text":{"text":"` + text + `"}}}`
	return func(dst []byte, id uint32, clientMsgID []byte) []byte {
		dst = strconv.AppendUint(append(dst, answerHead...), uint64(id), 10)
		dst = append(append(dst, `,"method":"message.send","params":{"clientMsgId":"`...), clientMsgID...)
		return append(dst, rest...)
	}
}

func (jsonCodec) ack(dst []byte, n uint64) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","method":"ack","params":{"n":`...)
	return append(strconv.AppendUint(dst, n, 10), "}}"...)
}

func (jsonCodec) parse(frame []byte) (event, error) {
	if id, ok := headNumber(frame, answerHead); ok {
		return jsonAnswer(frame, uint32(id)), nil
	}
	n, ok := headNumber(frame, entryHead)
	if !ok {
		return event{}, nil
	}
	e := event{kind: entry, n: n, clientMsgID: bytesAfter(frame, `"clientMsgId":"`)}
	if e.seq, ok = numberAfter(frame, `"seq":`); !ok {
		return e, fmt.Errorf("an entry without a seq: %.200q", frame)
	}
	return e, nil
}

func jsonAnswer(frame []byte, id uint32) event {
	e := event{kind: answer, id: id}
	if _, result, ok := bytes.Cut(frame, []byte(`,"result":`)); ok && bytes.HasPrefix(frame[len(answerHead):], strconv.AppendUint(nil, uint64(id), 10)) {
		e.body = bytes.TrimSuffix(result, []byte("}"))
		e.seq, _ = numberAfter(e.body, `"seq":`)
		e.messageID = bytesAfter(e.body, `"messageId":"`)
		return e
	}
	e.refused, e.body, e.reason = true, frame, string(bytesAfter(frame, `"reason":"`))
	e.retryAfter, _ = numberAfter(frame, `"retryAfterMs":`)
	return e
}

func (jsonCodec) result(e event, into proto.Message) error { return wire.UnmarshalAnswer(e.body, into) }

// headNumber returns the number behind head, if data begins with head.
func headNumber(data []byte, head string) (uint64, bool) {
	if len(data) < len(head) || string(data[:len(head)]) != head {
		return 0, false
	}
	return numberAfter(data[len(head):], "")
}

// numberAfter returns the number that follows key in data, and false if there is none.
func numberAfter(data []byte, key string) (uint64, bool) {
	i := bytes.Index(data, []byte(key))
	if i < 0 {
		return 0, false
	}
	return leadingNumber(data[i+len(key):])
}

func leadingNumber(data []byte) (uint64, bool) {
	var n uint64
	digits := 0
	for _, b := range data {
		if b < '0' || b > '9' || digits == 19 {
			break
		}
		n = n*10 + uint64(b-'0')
		digits++
	}
	return n, digits > 0
}

// bytesAfter returns what stands between key, which ends in a quote, and the next quote; nil if key is not there.
func bytesAfter(data []byte, key string) []byte {
	i := bytes.Index(data, []byte(key))
	if i < 0 {
		return nil
	}
	value, _, closed := bytes.Cut(data[i+len(key):], []byte{'"'})
	if !closed {
		return nil
	}
	return value
}
