package inproc

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// table holds the methods of registered services. The zero value is empty and ready. Reading takes no lock: the maps
// are replaced, never changed, as services are registered at start only.
type table struct {
	mu  sync.Mutex // serialises register
	now atomic.Pointer[methods]
}

type methods struct {
	services map[string]bool   // by name, without slashes
	byName   map[string]method // by full name
}

type method struct {
	impl    any
	handler grpc.MethodHandler
}

// RegisterService implements grpc.ServiceRegistrar for ServeGateway.
func (t *table) RegisterService(desc *grpc.ServiceDesc, impl any) { t.register(desc, impl) }

func (t *table) register(desc *grpc.ServiceDesc, impl any) {
	if want := reflect.TypeOf(desc.HandlerType).Elem(); impl == nil || !reflect.TypeOf(impl).Implements(want) {
		panic(fmt.Sprintf("inproc: %T does not implement %v", impl, want))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := methods{map[string]bool{}, map[string]method{}}
	if old := t.now.Load(); old != nil {
		next = methods{maps.Clone(old.services), maps.Clone(old.byName)}
	}
	if next.services[desc.ServiceName] {
		panic(fmt.Sprintf("inproc: %s is registered already", desc.ServiceName))
	}
	next.services[desc.ServiceName] = true
	for _, m := range desc.Methods {
		next.byName["/"+desc.ServiceName+"/"+m.MethodName] = method{impl, m.Handler}
	}
	t.now.Store(&next)
}

// find returns the method or the fault that says why there is none.
func (t *table) find(fullMethod string) (method, *fault.Error) {
	all := t.now.Load()
	if all != nil {
		if m, ok := all.byName[fullMethod]; ok {
			return m, nil
		}
	}
	name := service(fullMethod)
	if all == nil || !all.services[name] {
		return method{}, fault.New(fault.Overloaded, "service %s is not served here yet", name).After(retryAfter)
	}
	return method{}, fault.New(fault.UnknownMethod, "service %s has no method %s", name, fullMethod)
}

// call runs the handler on copies and returns its error as it is; a panic becomes an error with its stack.
func (m method) call(caller context.Context, args, reply any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = newPanicError(p)
		}
	}()
	dec := func(in any) error { return copyMessage(in, args) }
	out, err := m.handler(m.impl, serverContext(caller), dec, nil)
	if err != nil {
		return err
	}
	return copyMessage(reply, out)
}

// copyMessage makes to a copy of from, nothing shared. Both are messages of one type.
func copyMessage(to, from any) error {
	dst, ok := to.(proto.Message)
	src, ok2 := from.(proto.Message)
	if !ok || !ok2 {
		return fmt.Errorf("copy %T to %T: both must be protobuf messages", from, to)
	}
	// A nil answer without an error is a mistake of the handler, and a nil message of the caller.
	if !src.ProtoReflect().IsValid() || !dst.ProtoReflect().IsValid() {
		return fmt.Errorf("copy %T to %T: a message is nil", from, to)
	}
	proto.Reset(dst)
	proto.Merge(dst, src) // panics when the types differ, which call turns into an error
	return nil
}
