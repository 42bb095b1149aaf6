package wire

import (
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// check refuses in a request what protobuf can carry and JSON cannot say: times that are none and enum values without a
// name. So a request means the same at every door, and nothing gets in that could not be told in JSON again. Strings
// need no look, as protobuf itself takes no text that is not UTF-8.
func (p *plan) check(m protoreflect.Message) error {
	if p.shape == timestamp {
		if ts, ok := m.Interface().(*timestamppb.Timestamp); !ok || ts.CheckValid() != nil {
			return &broken{rule: timeRule}
		}
		return nil
	}
	var err error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f := p.byNumber[fd.Number()]; f.msg != nil || f.enum != nil {
			err = within(f.checkValue(v), f.name)
		}
		return err == nil
	})
	return err
}

func (f *field) checkValue(v protoreflect.Value) error {
	if !f.list {
		return f.checkOne(v)
	}
	list := v.List()
	for i := range list.Len() {
		if err := f.checkOne(list.Get(i)); err != nil {
			return within(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return nil
}

func (f *field) checkOne(v protoreflect.Value) error {
	if f.msg != nil {
		return f.msg.check(v.Message())
	}
	if _, ok := f.enum.words[v.Enum()]; !ok {
		return &broken{rule: f.enum.rule}
	}
	return nil
}
