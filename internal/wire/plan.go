package wire

import (
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// shape is how a message looks in JSON.
type shape int8

const (
	object    shape = iota
	timestamp       // google.protobuf.Timestamp: a string
	plainList       // the only field is "repeated … values": an array
)

// plan is what the codec knows of a message type before it sees a message. It is never changed once it is built.
type plan struct {
	shape    shape
	steps    []step            // what an object shows, in the order of declaration
	byName   map[string]*field // by JSON name
	byNumber map[protoreflect.FieldNumber]*field
	list     *field // of a plainList
}

// step writes one field, or whichever field of a oneof is set.
type step struct {
	field *field
	oneof protoreflect.OneofDescriptor
}

type field struct {
	desc     protoreflect.FieldDescriptor
	name     string // in JSON
	key      string // as it is written: quoted, with the colon
	kind     protoreflect.Kind
	optional bool // declared "optional": absent and zero are different things
	clears   bool // optional in the request of a PATCH: null is present with the zero value
	list     bool
	dict     bool // map<string, …>
	value    *field
	oneof    protoreflect.OneofDescriptor // nil, or a real oneof
	index    int                          // among the fields of its message
	msg      *plan                        // of messages
	enum     *enum                        // of enums
}

// enum holds the words of an enum in both directions.
type enum struct {
	words   map[protoreflect.EnumNumber]string
	numbers map[string]protoreflect.EnumNumber
	rule    string // "one of web, ios"
}

// plans caches what planOf has built, by message descriptor; it is bounded by the types that are linked in.
var plans sync.Map

// planOf returns the plan of a message type.
func planOf(md protoreflect.MessageDescriptor) *plan {
	if p, ok := plans.Load(md); ok {
		return p.(*plan)
	}
	// Two goroutines may build the same plan; both are right, and one stays.
	b := builder{}
	p := b.message(md)
	stored, _ := plans.LoadOrStore(md, p)
	return stored.(*plan)
}

// builder builds one graph of plans; it holds those that are under way, because messages may contain themselves.
type builder map[protoreflect.FullName]*plan

func (b builder) message(md protoreflect.MessageDescriptor) *plan {
	if p, ok := b[md.FullName()]; ok {
		return p
	}
	p := &plan{byName: map[string]*field{}, byNumber: map[protoreflect.FieldNumber]*field{}}
	b[md.FullName()] = p
	if md.FullName() == "google.protobuf.Timestamp" {
		p.shape = timestamp
		return p
	}
	fields := md.Fields()
	for i := range fields.Len() {
		p.add(b.field(fields.Get(i)))
	}
	if f := p.byName["values"]; f != nil && fields.Len() == 1 && f.list {
		p.shape, p.list = plainList, f
	}
	return p
}

// add takes f into the plan; the members of a oneof share the step of the first.
func (p *plan) add(f *field) {
	p.byName[f.name] = f
	p.byNumber[f.desc.Number()] = f
	if f.oneof == nil {
		p.steps = append(p.steps, step{field: f})
	} else if f.oneof.Fields().Get(0) == f.desc {
		p.steps = append(p.steps, step{oneof: f.oneof})
	}
}

func (b builder) field(fd protoreflect.FieldDescriptor) *field {
	f := &field{
		desc:     fd,
		name:     fd.JSONName(),
		kind:     fd.Kind(),
		optional: fd.HasOptionalKeyword(),
		clears:   fd.HasOptionalKeyword() && patches()[fd.ContainingMessage().FullName()],
		list:     fd.IsList(),
		dict:     fd.IsMap(),
		index:    fd.Index(),
	}
	f.key = string(appendString(nil, f.name)) + ":"
	if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
		f.oneof = od
	}
	switch {
	case f.dict:
		f.value = b.field(fd.MapValue())
	case fd.Enum() != nil:
		f.enum = enumOf(fd.Enum())
	case fd.Message() != nil:
		f.msg = b.message(fd.Message())
	}
	return f
}

func enumOf(ed protoreflect.EnumDescriptor) *enum {
	e := &enum{words: map[protoreflect.EnumNumber]string{}, numbers: map[string]protoreflect.EnumNumber{}}
	prefix := upperSnake(string(ed.Name())) + "_"
	var rule []string
	values := ed.Values()
	for i := range values.Len() {
		v := values.Get(i)
		word := ""
		if v.Number() != 0 {
			word = lowerCamel(strings.TrimPrefix(string(v.Name()), prefix))
			rule = append(rule, word)
		}
		e.words[v.Number()] = word
		e.numbers[word] = v.Number()
	}
	e.rule = "one of " + strings.Join(rule, ", ")
	return e
}

const unknownWord = "unknown" // what precedes the number of an enum value without a name

// word returns how n is written.
func (e *enum) word(n protoreflect.EnumNumber) string {
	if w, ok := e.words[n]; ok {
		return w
	}
	return unknownWord + strconv.Itoa(int(n))
}

// upperSnake turns "EntryKind" into "ENTRY_KIND".
func upperSnake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && 'A' <= r && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// lowerCamel turns "FRIEND_REQUEST" into "friendRequest".
func lowerCamel(s string) string {
	parts := strings.Split(strings.ToLower(s), "_")
	for i, p := range parts {
		if i > 0 && p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}
