package calls

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// free caches what NoSideEffects has read, by full name; it is bounded by the methods that are linked in.
var free sync.Map

// NoSideEffects says whether the contract declares a method, by its full name, free of side effects (idempotency_level =
// NO_SIDE_EFFECTS): it only reads, so it may be executed twice, and a lost answer leaves nothing in doubt.
func NoSideEffects(fullMethod string) bool {
	if known, ok := free.Load(fullMethod); ok {
		return known.(bool)
	}
	name := strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return false // not linked in, and not kept: the name may be anything
	}
	o, ok := d.Options().(*descriptorpb.MethodOptions)
	is := ok && o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
	free.Store(fullMethod, is)
	return is
}
