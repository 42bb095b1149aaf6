package bench

import (
	"fmt"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// protoCodec is "oceanchat.proto". It reads the few fields that count from the bytes; a test compares it with the
// generated types.
type protoCodec struct{}

var _ codec = protoCodec{}

// The numbers of the fields that are read and written by hand (api/oceanchat/wire/v1, message/v1).
const (
	frameReply, framePush             = 1, 2
	replyID, replyResult, replyError  = 1, 2, 3
	pushMethod, pushParams            = 1, 2
	entryPushN, entryPushEntry        = 1, 2
	errorReason, errorRetryAfter      = 2, 5
	sendResultMessage, sendResultSeq  = 1, 3
	sendClientMsgID                   = 1
	clientID, clientMethod, clientArg = 1, 3, 4
)

// The numbers of an entry's fields, which the generated type knows.
var entrySeq, entryClientMsgID = fieldNumber("seq"), fieldNumber("client_msg_id")

func fieldNumber(name string) int {
	fields := (&messagev1.Entry{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if string(fields.Get(i).Name()) == name {
			return int(fields.Get(i).Number())
		}
	}
	panic("an entry has no field " + name)
}

func (protoCodec) protocol() string { return "oceanchat.proto" }

func (protoCodec) op() ws.OpCode { return ws.OpBinary }

func (protoCodec) request(dst []byte, id uint32, lane int, method string, params proto.Message) ([]byte, error) {
	body, err := proto.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, &wirev1.ClientFrame{Id: &id, Lane: uint32(lane), Method: method, Params: body})
}

func (protoCodec) sender(to target, text string) func(dst []byte, id uint32, clientMsgID []byte) []byte {
	rest, err := proto.Marshal(&messagev1.SendRequest{ToUserId: to.userID, GroupId: to.groupID, Text: &messagev1.Text{Text: text}})
	if err != nil {
		panic(err) // only a text that is no UTF-8 does that
	}
	return func(dst []byte, id uint32, clientMsgID []byte) []byte {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, clientID, protowire.VarintType), uint64(id))
		dst = protowire.AppendString(protowire.AppendTag(dst, clientMethod, protowire.BytesType), "message.send")
		dst = protowire.AppendTag(dst, clientArg, protowire.BytesType)
		size := protowire.SizeTag(sendClientMsgID) + protowire.SizeBytes(len(clientMsgID)) + len(rest)
		dst = protowire.AppendVarint(dst, uint64(size))
		dst = protowire.AppendBytes(protowire.AppendTag(dst, sendClientMsgID, protowire.BytesType), clientMsgID)
		return append(dst, rest...)
	}
}

func (protoCodec) ack(dst []byte, n uint64) []byte {
	dst = protowire.AppendString(protowire.AppendTag(dst, clientMethod, protowire.BytesType), "ack")
	dst = protowire.AppendTag(dst, clientArg, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(protowire.SizeTag(1)+protowire.SizeVarint(n)))
	return protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), n)
}

func (protoCodec) parse(frame []byte) (event, error) {
	var e event
	err := fields(frame, func(num int, _ uint64, b []byte) error {
		switch num {
		case frameReply:
			e.kind = answer
			return e.reply(b)
		case framePush:
			return e.push(b)
		}
		return nil
	})
	return e, err
}

func (e *event) reply(b []byte) error {
	err := fields(b, func(num int, v uint64, b []byte) error {
		switch num {
		case replyID:
			e.id = uint32(v)
		case replyResult:
			e.body = b
		case replyError:
			e.refused, e.body = true, b
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Other methods' results have other fields at these numbers, or none; only who asked knows.
	_ = fields(e.body, func(num int, v uint64, b []byte) error {
		switch {
		case e.refused && num == errorReason:
			e.reason = string(b)
		case e.refused && num == errorRetryAfter:
			e.retryAfter = v
		case !e.refused && num == sendResultMessage:
			e.messageID = b
		case !e.refused && num == sendResultSeq:
			e.seq = v
		}
		return nil
	})
	return nil
}

func (e *event) push(b []byte) error {
	var params []byte
	err := fields(b, func(num int, _ uint64, b []byte) error {
		switch {
		case num == pushMethod && string(b) == "entry":
			e.kind = entry
		case num == pushParams:
			params = b
		}
		return nil
	})
	if err != nil || e.kind != entry {
		return err
	}
	return fields(params, func(num int, v uint64, b []byte) error {
		switch num {
		case entryPushN:
			e.n = v
		case entryPushEntry:
			return fields(b, func(num int, v uint64, b []byte) error {
				switch num {
				case entrySeq:
					e.seq = v
				case entryClientMsgID:
					e.clientMsgID = b
				}
				return nil
			})
		}
		return nil
	})
}

func (protoCodec) result(e event, into proto.Message) error { return proto.Unmarshal(e.body, into) }

// fields calls do with each field of a message: v is a varint's value, b the content of a field with a length.
func fields(message []byte, do func(num int, v uint64, b []byte) error) error {
	for len(message) > 0 {
		num, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("a broken frame: %w", protowire.ParseError(n))
		}
		message = message[n:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(num, kind, message)
		}
		if n < 0 {
			return fmt.Errorf("a broken frame: %w", protowire.ParseError(n))
		}
		message = message[n:]
		if err := do(int(num), v, b); err != nil {
			return err
		}
	}
	return nil
}
