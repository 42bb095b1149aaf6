package wire_test

import (
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func TestAppendJSONText(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"no HTML escaping", `<a href="x">&</a>`, `"<a href=\"x\">&</a>"`},
		{"control characters", "\x00\x1f\n\r\t\x7f\\", "\"\\u0000\\u001f\\n\\r\\t\x7f\\\\\""},
		{"beyond ASCII", "né👍\u2028", "\"né👍\u2028\""},
		{"invalid UTF-8", "a\xffb\xc3", "\"a\ufffdb\ufffd\""},
		{"the replacement character itself", "a\ufffdb", "\"a\ufffdb\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.MarshalJSON(&userv1.TagList{Values: []string{tt.in}})
			if want := "[" + tt.want + "]"; err != nil || string(got) != want {
				t.Errorf("MarshalJSON(%q) = %s, %v; want %s", tt.in, got, err, want)
			}
		})
	}
}

func TestAppendJSONKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	got, err := wire.AppendJSON([]byte("x"), &messagev1.TypingResponse{})
	if err != nil || string(got) != "x{}" {
		t.Errorf("AppendJSON = %s, %v; want x{}", got, err)
	}
	bad := &messagev1.Entry{SentAt: &timestamppb.Timestamp{Nanos: -1}}
	if got, err := wire.AppendJSON([]byte("x"), bad); err == nil || string(got) != "x" {
		t.Errorf("AppendJSON of an impossible time = %s, %v; want x and an error", got, err)
	}
	if _, err := wire.AppendJSON(nil, nil); err == nil {
		t.Error("AppendJSON(nil) = no error; want one")
	}
}

// kinds describes a message of what no public message has yet; one that comes must not be a surprise.
func kinds(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	field := func(name string, n int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, Number: &n, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	}
	dict := field("scores", 5, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE)
	dict.TypeName, dict.Label = new(".t.Kinds.ScoresEntry"), descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	nested := &descriptorpb.DescriptorProto{
		Name:    new("ScoresEntry"),
		Field:   []*descriptorpb.FieldDescriptorProto{field("key", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING), field("value", 2, descriptorpb.FieldDescriptorProto_TYPE_INT64)},
		Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
	}
	self := field("inner", 6, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE)
	self.TypeName = new(".t.Kinds")
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("kinds.proto"), Package: new("t"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:       new("Kinds"),
			NestedType: []*descriptorpb.DescriptorProto{nested},
			Field: []*descriptorpb.FieldDescriptorProto{
				field("raw_data", 1, descriptorpb.FieldDescriptorProto_TYPE_BYTES),
				field("ratio", 2, descriptorpb.FieldDescriptorProto_TYPE_DOUBLE),
				field("small", 3, descriptorpb.FieldDescriptorProto_TYPE_FLOAT),
				field("balance", 4, descriptorpb.FieldDescriptorProto_TYPE_INT64),
				dict, self,
			},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().Get(0)
}

func TestOtherKinds(t *testing.T) {
	t.Parallel()
	const text = `{"rawData":"+/8=","ratio":0.5,"small":-1.5,"balance":-9223372036854775808,` +
		`"scores":{"a":1,"b":-2},"inner":{"rawData":"","ratio":0,"small":0,"balance":0,"scores":{},"inner":null}}`
	m := dynamicpb.NewMessage(kinds(t))
	if err := wire.UnmarshalJSON([]byte(text), m); err != nil {
		t.Fatalf("UnmarshalJSON = %v; want no error", err)
	}
	got, err := wire.MarshalJSON(m)
	if err != nil || string(got) != text {
		t.Errorf("MarshalJSON = %s, %v; want %s", got, err, text)
	}
	for in, want := range map[string]string{
		`{"rawData":"-_8"}`:                "",
		`{"rawData":"*"}`:                  "rawData: bytes in base64",
		`{"ratio":"x"}`:                    "ratio: a number",
		`{"ratio":1e999}`:                  "ratio: a number",
		`{"scores":[]}`:                    "scores: an object",
		`{"scores":{"a":null}}`:            "scores.a: a whole number",
		`{"scores":{"a":1,"a":2}}`:         "a member stands twice in one object",
		`{"inner":{"inner":{"small":{}}}}`: "inner.inner.small: a number",
	} {
		err := wire.UnmarshalJSON([]byte(in), dynamicpb.NewMessage(kinds(t)))
		if msg := message(err); msg != want {
			t.Errorf("UnmarshalJSON(%s) = %q; want %q", in, msg, want)
		}
	}
}
