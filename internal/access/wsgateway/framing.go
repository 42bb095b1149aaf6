package wsgateway

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// A unit is what the bytes of a connection are made of, after reassembly.
type unit struct {
	op      ws.OpCode // OpText and OpBinary for a whole message, OpContinuation for nothing to act on yet
	payload []byte    // valid until the next call; unmasked
}

// A partial is the message whose fragments are arriving. The zero value is none.
type partial struct {
	op  ws.OpCode
	buf []byte
}

// A framing cuts the bytes of a client into units and puts headers before what goes to it. It keeps no state of its
// own, so one value serves all connections.
type framing interface {
	// next takes the first unit off in and says how many bytes it was; 0 means that more bytes are needed. It may
	// change in. limit bounds a message after reassembly; what is longer is refused by its header, before it arrives.
	next(in []byte, p *partial, limit int) (u unit, n int, err error)
	// header appends what stands before size bytes of a message or control frame to the client.
	header(dst []byte, op ws.OpCode, size int) []byte
}

// The ways to break the framing; each ends the connection with 4004.
var (
	errTooLarge = errors.New("frame too large")
	errUnmasked = errors.New("frame not masked")
	errReserved = errors.New("reserved bit or opcode")
	errControl  = errors.New("control frame fragmented or longer than 125 bytes")
	errSequence = errors.New("fragments out of order")
	errLength   = errors.New("length not in its shortest form")
	errType     = errors.New("frame of the wrong type for the subprotocol")
	errText     = errors.New("text is not UTF-8")
	errClose    = errors.New("close frame malformed")
)

// webSocket is RFC 6455 for one type of data frame. No extension is ever agreed on.
type webSocket struct{ data ws.OpCode }

var _ framing = webSocket{}

// A wsHead is the header of a client's frame.
type wsHead struct {
	op     ws.OpCode
	fin    bool
	mask   [4]byte
	at     int // where the payload starts
	length int
}

func (f webSocket) next(in []byte, p *partial, limit int) (unit, int, error) {
	h, err := f.parse(in)
	if err != nil || h.at == 0 {
		return unit{}, 0, err
	}
	if err := f.check(h, p, limit); err != nil {
		return unit{}, 0, err
	}
	if len(in) < h.at+h.length {
		return unit{}, 0, nil
	}
	payload := in[h.at : h.at+h.length : h.at+h.length]
	ws.Cipher(payload, h.mask, 0)
	u, err := f.assemble(h, p, payload)
	return u, h.at + h.length, err
}

// parse reads a header; at is 0 while bytes are missing. What the first two bytes forbid is refused at once.
func (f webSocket) parse(in []byte) (wsHead, error) {
	if len(in) < 2 {
		return wsHead{}, nil
	}
	h := wsHead{op: ws.OpCode(in[0] & 0x0f), fin: in[0]&0x80 != 0}
	short := int(in[1] & 0x7f)
	switch {
	case in[0]&0x70 != 0 || h.op.IsReserved():
		return wsHead{}, errReserved
	case in[1]&0x80 == 0:
		return wsHead{}, errUnmasked
	case h.op.IsControl() && (!h.fin || short > 125):
		return wsHead{}, errControl
	}
	at, length, err := extendedLength(in, short)
	if err != nil || at == 0 || len(in) < at+4 {
		return wsHead{}, err
	}
	copy(h.mask[:], in[at:])
	h.at, h.length = at+4, length
	return h, nil
}

// extendedLength returns the payload's length and where it ended; 0 while bytes are missing.
func extendedLength(in []byte, short int) (at, length int, err error) {
	switch {
	case short < 126:
		return 2, short, nil
	case short == 126 && len(in) >= 4:
		length = int(binary.BigEndian.Uint16(in[2:]))
		if length < 126 {
			return 0, 0, errLength
		}
		return 4, length, nil
	case short == 127 && len(in) >= 10:
		n := binary.BigEndian.Uint64(in[2:])
		if n < 1<<16 {
			return 0, 0, errLength
		}
		return 10, int(min(n, 1<<40)), nil
	}
	return 0, 0, nil
}

// check refuses a frame by its header alone.
func (f webSocket) check(h wsHead, p *partial, limit int) error {
	switch {
	case h.op.IsControl():
		return nil
	case (h.op == ws.OpContinuation) != (p.op != 0):
		return errSequence
	case h.op != ws.OpContinuation && h.op != f.data:
		return errType
	case h.length > limit-len(p.buf):
		return errTooLarge
	}
	return nil
}

func (f webSocket) assemble(h wsHead, p *partial, payload []byte) (unit, error) {
	u := unit{op: h.op, payload: payload}
	switch {
	case h.op == ws.OpClose:
		return u, checkClose(payload)
	case h.op.IsControl():
		return u, nil
	case !h.fin:
		p.op = f.data
		p.buf = append(p.buf, payload...)
		return unit{op: ws.OpContinuation}, nil
	case h.op == ws.OpContinuation:
		u = unit{op: p.op, payload: append(p.buf, payload...)}
		*p = partial{}
	}
	if u.op == ws.OpText && !utf8.Valid(u.payload) {
		return unit{}, errText
	}
	return u, nil
}

func checkClose(payload []byte) error {
	switch {
	case len(payload) == 0:
		return nil
	case len(payload) == 1 || !utf8.Valid(payload[2:]):
		return errClose
	}
	code := ws.StatusCode(binary.BigEndian.Uint16(payload))
	if code < 1000 || code >= 5000 || code == ws.StatusNoStatusRcvd || code == ws.StatusAbnormalClosure ||
		code == ws.StatusNoMeaningYet || code == 1015 {
		return errClose
	}
	return nil
}

func (f webSocket) header(dst []byte, op ws.OpCode, size int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case size < 126:
		return append(dst, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(size))
}

// varintTCP is the raw TCP door: an unsigned varint before each message and no control frames.
type varintTCP struct{}

var _ framing = varintTCP{}

func (varintTCP) next(in []byte, _ *partial, limit int) (unit, int, error) {
	length, at := binary.Uvarint(in)
	switch {
	case at == 0 && len(in) < binary.MaxVarintLen32:
		return unit{}, 0, nil
	case at <= 0 || at > binary.MaxVarintLen32:
		return unit{}, 0, errLength
	case length > uint64(limit):
		return unit{}, 0, errTooLarge
	}
	end := at + int(length)
	if len(in) < end {
		return unit{}, 0, nil
	}
	return unit{op: ws.OpBinary, payload: in[at:end:end]}, end, nil
}

func (varintTCP) header(dst []byte, _ ws.OpCode, size int) []byte {
	return binary.AppendUvarint(dst, uint64(size))
}
