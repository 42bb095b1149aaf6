package chat

import (
	"encoding/binary"
	"strconv"
)

// MessageID names an entry. It is a random part of 13 characters followed by the entry's seq in base 32, so the
// database finds an entry by its primary key (conversation, seq) and needs no second index for ids.
type MessageID string

const messageIDRandom = 13 // characters of 64 random bits in base32hex

// NewMessageID returns the id of the entry that gets seq, with the given random bits.
func NewMessageID(random, seq uint64) MessageID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], random)
	return MessageID(alphabet.EncodeToString(b[:]) + strconv.FormatUint(seq, 32))
}

// Seq returns the seq that m carries, and false if m is no message id.
func (m MessageID) Seq() (uint64, bool) {
	if len(m) <= messageIDRandom || !ValidID(string(m)) {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(m[messageIDRandom:]), 32, 64)
	return seq, err == nil && seq > 0
}

// Random returns the random bits that m carries, or 0 if m is no message id.
func (m MessageID) Random() uint64 {
	if _, ok := m.Seq(); !ok {
		return 0
	}
	var b [9]byte // 13 characters are 65 bits
	if _, err := alphabet.Decode(b[:], []byte(m[:messageIDRandom])); err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(b[:8])
}
