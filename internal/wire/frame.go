package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// Numbers of the fields that are written here by hand, so that params and results are copied once. TestFrames compares
// them with the generated messages.
const (
	serverReply protowire.Number = 1
	serverPush  protowire.Number = 2
	replyID     protowire.Number = 1
	replyResult protowire.Number = 2
	replyError  protowire.Number = 3
	pushMethod  protowire.Number = 1
	pushParams  protowire.Number = 2
	entryN      protowire.Number = 1
	entryEntry  protowire.Number = 2
)

// parseFrame reads a wirev1.ClientFrame.
func parseFrame(packet []byte) (Request, error) {
	var f wirev1.ClientFrame
	if err := proto.Unmarshal(packet, &f); err != nil {
		bad := fault.Wrap(err, fault.Malformed, "not a ClientFrame")
		return Request{}, &EnvelopeError{Number: NumberNotJSON, Fault: bad}
	}
	r := Request{Method: f.GetMethod(), Params: f.GetParams()}
	if f.Id != nil {
		r.ID = NumberID(f.GetId())
	}
	if r.Method == "" {
		return r, notRPC(r.ID, fault.InvalidField("method", "the name of a method"))
	}
	if f.GetLane() > maxLane {
		return r, notRPC(r.ID, fault.InvalidField("lane", "a whole number from 0 to 3"))
	}
	r.Lane = int(f.GetLane())
	return r, nil
}

// sizeOf returns the size of a field that is length-delimited.
func sizeOf(n protowire.Number, size int) int {
	return protowire.SizeTag(n) + protowire.SizeBytes(size)
}

// open appends the tag and the length of a field whose content follows.
func open(dst []byte, n protowire.Number, size int) []byte {
	dst = protowire.AppendTag(dst, n, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(size))
}

func appendReply(dst []byte, id ID, outcome protowire.Number, body []byte) []byte {
	size := sizeOf(outcome, len(body))
	if id.number != 0 {
		size += protowire.SizeTag(replyID) + protowire.SizeVarint(uint64(id.number))
	}
	dst = open(dst, serverReply, size)
	if id.number != 0 {
		dst = protowire.AppendTag(dst, replyID, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(id.number))
	}
	dst = open(dst, outcome, len(body))
	return append(dst, body...)
}

func appendPushFrame(dst []byte, method string, params []byte) []byte {
	dst = openPush(dst, method, len(params))
	return append(dst, params...)
}

// openPush appends a push up to its params, of which size bytes follow.
func openPush(dst []byte, method string, size int) []byte {
	dst = open(dst, serverPush, sizeOf(pushMethod, len(method))+sizeOf(pushParams, size))
	dst = open(dst, pushMethod, len(method))
	dst = append(dst, method...)
	return open(dst, pushParams, size)
}

func appendEntryFrame(dst []byte, n uint64, entry []byte) []byte {
	size := protowire.SizeTag(entryN) + protowire.SizeVarint(n) + sizeOf(entryEntry, len(entry))
	dst = openPush(dst, "entry", size)
	dst = protowire.AppendTag(dst, entryN, protowire.VarintType)
	dst = protowire.AppendVarint(dst, n)
	dst = open(dst, entryEntry, len(entry))
	return append(dst, entry...)
}

// mustMarshal encodes an error object; one with invalid UTF-8 in it is reduced to its code and reason.
func mustMarshal(e *wirev1.Error) []byte {
	b, err := proto.Marshal(e)
	if err != nil {
		b, _ = proto.Marshal(&wirev1.Error{Code: e.GetCode(), Reason: e.GetReason()})
	}
	return b
}
