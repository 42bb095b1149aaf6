package wire_test

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// sample returns a message of m's type with every field set to something that names itself. Of each oneof the member
// number pick is set, counted around.
func sample(m proto.Message, pick int) proto.Message {
	out := m.ProtoReflect().New()
	fillMessage(out, pick)
	return out.Interface()
}

func fillMessage(m protoreflect.Message, pick int) {
	if _, ok := m.Interface().(*timestamppb.Timestamp); ok {
		proto.Merge(m.Interface(), sometime)
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if od := f.ContainingOneof(); od != nil && !od.IsSynthetic() && od.Fields().Get(pick%od.Fields().Len()) != f {
			continue
		}
		if !f.IsList() {
			m.Set(f, fillValue(m.NewField(f), f, pick, ""))
			continue
		}
		list := m.Mutable(f).List()
		list.Append(fillValue(list.NewElement(), f, pick, "1"))
		if f.Message() == nil {
			list.Append(fillValue(list.NewElement(), f, pick, "2"))
		}
	}
}

// ids are the texts of fields whose form the contract fixes; all others hold their own name.
var ids = map[string]string{
	"conversationId": "d~u1~u2", "userId": "u1", "toUserId": "u2", "groupId": "g1", "deviceId": "d1", "sessionId": "s1",
	"messageId": "0123456789abc1a", "replyTo": "0123456789abc19", "senderId": "u1", "actorId": "u1", "ownerId": "u1",
	"clientMsgId": "m-1_A", "username": "bob", "userIds": "u", "memberIds": "u", "emoji": "👍", "environment": "production",
}

func fillValue(v protoreflect.Value, f protoreflect.FieldDescriptor, pick int, suffix string) protoreflect.Value {
	number := 40 + int64(f.Number())
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		fillMessage(v.Message(), pick)
		return v
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(1 + pick%(f.Enum().Values().Len()-1)).Number())
	case protoreflect.StringKind:
		text, ok := ids[f.JSONName()]
		if !ok {
			text = f.JSONName()
		}
		return protoreflect.ValueOfString(text + suffix)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(f.JSONName() + suffix))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(number))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(number)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number))
	default:
		panic(fmt.Sprintf("%s: no sample of a %s", f.FullName(), f.Kind()))
	}
}

// variants returns how many samples show every member of every oneof in m, and every word of every enum.
func variants(md protoreflect.MessageDescriptor) int {
	most := 1
	fields := md.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if od := f.ContainingOneof(); od != nil && !od.IsSynthetic() {
			most = max(most, od.Fields().Len())
		}
		if f.Enum() != nil {
			most = max(most, f.Enum().Values().Len()-1)
		}
	}
	return most
}
