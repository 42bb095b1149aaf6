package main

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// schemaName is "group.Member" for oceanchat.group.v1.Member. The package stays in it, so that a new
// message elsewhere never renames an old one.
func schemaName(d protoreflect.Descriptor) string {
	full := strings.TrimPrefix(string(d.FullName()), "oceanchat.")
	return strings.Replace(full, ".v1.", ".", 1)
}

// enumString is the JSON codec's name of a value: ENTRY_KIND_MEMBER_JOINED of EntryKind is memberJoined.
func enumString(e protoreflect.EnumDescriptor, v protoreflect.EnumValueDescriptor) string {
	if v.Number() == 0 {
		return ""
	}
	words := strings.Split(strings.ToLower(strings.TrimPrefix(string(v.Name()), upperSnake(string(e.Name()))+"_")), "_")
	for i := 1; i < len(words); i++ {
		words[i] = upperFirst(words[i])
	}
	return strings.Join(words, "")
}

// upperSnake turns EntryKind into ENTRY_KIND and HTTPCode into HTTP_CODE.
func upperSnake(s string) string {
	runes := []rune(s)
	var out strings.Builder
	for i, r := range runes {
		startsWord := i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToUpper(r))
	}
	return out.String()
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// comment is the leading comment, else the trailing one, without the comment marks.
func comment(c protogen.CommentSet) string {
	text := string(c.Leading)
	if strings.TrimSpace(text) == "" {
		text = string(c.Trailing)
	}
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// firstSentence ends at the first full stop before a space, or at the first empty line.
func firstSentence(text string) string {
	text, _, _ = strings.Cut(text, "\n\n")
	text = strings.ReplaceAll(text, "\n", " ")
	first, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(first, ".")
}

// inOneof reports whether f is a member of a oneof that stands in the .proto, not of an optional field's.
func inOneof(f *protogen.Field) bool {
	return f.Oneof != nil && !f.Oneof.Desc.IsSynthetic()
}

// isList reports whether the JSON codec writes msg as a plain array: a message called …List whose one
// field is "repeated … values". It lets a PATCH tell an absent list from an empty one.
func isList(msg *protogen.Message) bool {
	return strings.HasSuffix(string(msg.Desc.Name()), "List") && len(msg.Fields) == 1 &&
		msg.Fields[0].Desc.IsList() && msg.Fields[0].Desc.Name() == "values"
}

func oneofNames(o *protogen.Oneof) string {
	names := make([]string, 0, len(o.Fields))
	for _, f := range o.Fields {
		names = append(names, "`"+f.Desc.JSONName()+"`")
	}
	return strings.Join(names, ", ")
}

// deprecated reports whether the method or field is marked so.
func deprecated(of any) bool {
	switch d := of.(type) {
	case *protogen.Method:
		o, _ := d.Desc.Options().(*descriptorpb.MethodOptions)
		return o.GetDeprecated()
	case *protogen.Field:
		o, _ := d.Desc.Options().(*descriptorpb.FieldOptions)
		return o.GetDeprecated()
	}
	return false
}
