package wire

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The rules that are told when a value is of the wrong type.
const (
	boolRule = "true or false"
	listRule = "a list"
	timeRule = "a time as in RFC 3339, such as 2026-01-31T08:30:00.000Z"
	uintRule = "a whole number from 0"
	intRule  = "a whole number"
)

// rule returns what a value of the field's kind must be.
func (f *field) rule() string {
	switch f.kind {
	case protoreflect.BoolKind:
		return boolRule
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BytesKind:
		return "bytes in base64"
	case protoreflect.EnumKind:
		return f.enum.rule
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return "an object"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return uintRule
	default:
		return intRule
	}
}

// ofText returns the value of a string, bytes or enum field that is written as s. With answer, unknown words of enums
// pass.
func (f *field) ofText(s string, answer bool) (protoreflect.Value, error) {
	switch f.kind {
	case protoreflect.BytesKind:
		b, err := decodeBase64(s)
		if err != nil {
			return protoreflect.Value{}, &broken{rule: f.rule()}
		}
		return protoreflect.ValueOfBytes(b), nil
	case protoreflect.EnumKind:
		return f.enum.value(s, answer)
	default:
		return protoreflect.ValueOfString(s), nil
	}
}

func (e *enum) value(word string, answer bool) (protoreflect.Value, error) {
	if n, ok := e.numbers[word]; ok {
		return protoreflect.ValueOfEnum(n), nil
	}
	if !answer {
		return protoreflect.Value{}, &broken{rule: e.rule}
	}
	digits, _ := strings.CutPrefix(word, unknownWord)
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		n = 0
	}
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
}

// ofNumber returns the value of a number field that is written as tok, a number of JSON.
func (f *field) ofNumber(tok string) (protoreflect.Value, error) {
	switch f.kind {
	case protoreflect.FloatKind:
		v, err := strconv.ParseFloat(tok, 32)
		return protoreflect.ValueOfFloat32(float32(v)), f.unless(err != nil, "a number")
	case protoreflect.DoubleKind:
		v, err := strconv.ParseFloat(tok, 64)
		return protoreflect.ValueOfFloat64(v), f.unless(err != nil, "a number")
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := f.uint(tok, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := f.uint(tok, math.MaxUint64)
		return protoreflect.ValueOfUint64(n), err
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := f.int(tok, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(n)), err
	default:
		n, err := f.int(tok, math.MaxInt64)
		return protoreflect.ValueOfInt64(n), err
	}
}

// unless returns a broken rule if it is broken.
func (f *field) unless(is bool, rule string) error {
	if !is {
		return nil
	}
	return &broken{rule: rule}
}

func (f *field) uint(tok string, most uint64) (uint64, error) {
	negative, n, err := whole(tok)
	switch {
	case negative || errors.Is(err, errFraction):
		return 0, &broken{rule: uintRule}
	case err != nil || n > most:
		return 0, &broken{rule: fmt.Sprintf("%s to %d", uintRule, most)}
	}
	return n, nil
}

func (f *field) int(tok string, most int64) (int64, error) {
	negative, n, err := whole(tok)
	if errors.Is(err, errFraction) {
		return 0, &broken{rule: intRule}
	}
	limit := uint64(most)
	if negative {
		limit++
	}
	if err != nil || n > limit {
		return 0, &broken{rule: fmt.Sprintf("%s from %d to %d", intRule, -most-1, most)}
	}
	if negative {
		return -int64(n-1) - 1, nil
	}
	return int64(n), nil
}

var (
	errFraction = errors.New("not a whole number")
	errTooBig   = errors.New("above 2^64-1, or above 2^53 and not written plainly")
)

// whole reads a number of JSON that must be whole; 1.0 and 1e3 are, up to 2^53, as some clients keep all numbers as floats.
func whole(tok string) (negative bool, n uint64, err error) {
	digits, negative := strings.CutPrefix(tok, "-")
	n, err = strconv.ParseUint(digits, 10, 64)
	if err == nil {
		return negative && n > 0, n, nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	switch {
	case math.IsInf(f, 1) || f > 1<<53:
		return negative, 0, errTooBig
	case err != nil || f != math.Trunc(f):
		return negative, 0, errFraction
	}
	return negative && f > 0, uint64(f), nil
}

// setTime sets a Timestamp to s.
func setTime(m protoreflect.Message, s string) error {
	var t time.Time
	ts, ok := m.Interface().(*timestamppb.Timestamp)
	if !ok {
		return fmt.Errorf("a time of type %T", m.Interface())
	}
	// UnmarshalText is stricter than time.Parse, which lets a comma and single digits pass.
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return &broken{rule: timeRule}
	}
	v := timestamppb.New(t)
	if v.CheckValid() != nil {
		return &broken{rule: timeRule}
	}
	ts.Seconds, ts.Nanos = v.GetSeconds(), v.GetNanos()
	return nil
}
