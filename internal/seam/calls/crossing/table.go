package crossing

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// Table holds the methods of registered services. The zero value is empty and ready. It is safe for concurrent use, and
// reading takes no lock: the maps are replaced, never changed, as services are registered at start only.
type Table struct {
	mu  sync.Mutex // serialises RegisterService
	now atomic.Pointer[methods]
}

var _ grpc.ServiceRegistrar = (*Table)(nil)

type methods struct {
	services map[string]bool   // by name, without slashes
	byName   map[string]Method // by full name
}

// Method is one method of a service.
type Method struct {
	impl    any
	handler grpc.MethodHandler
}

// RegisterService makes the methods of impl known. As in gRPC, it panics if the service is registered already or impl
// does not implement it: both are mistakes of the program.
func (t *Table) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if want := reflect.TypeOf(desc.HandlerType).Elem(); impl == nil || !reflect.TypeOf(impl).Implements(want) {
		panic(fmt.Sprintf("calls: %T does not implement %v", impl, want))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := methods{map[string]bool{}, map[string]Method{}}
	if old := t.now.Load(); old != nil {
		next = methods{maps.Clone(old.services), maps.Clone(old.byName)}
	}
	if next.services[desc.ServiceName] {
		panic(fmt.Sprintf("calls: %s is registered already", desc.ServiceName))
	}
	next.services[desc.ServiceName] = true
	for _, m := range desc.Methods {
		next.byName["/"+desc.ServiceName+"/"+m.MethodName] = Method{impl, m.Handler}
	}
	t.now.Store(&next)
}

// Find returns the method or the fault that says why there is none: OVERLOADED for a service that is not registered
// (yet), UNKNOWN_METHOD for a method that its service does not have.
func (t *Table) Find(fullMethod string) (Method, *fault.Error) {
	all := t.now.Load()
	if all != nil {
		if m, ok := all.byName[fullMethod]; ok {
			return m, nil
		}
	}
	name := service(fullMethod)
	if all == nil || !all.services[name] {
		return Method{}, NotServed(nil, "service %s is not served here yet", name)
	}
	return Method{}, fault.New(fault.UnknownMethod, "service %s has no method %s", name, fullMethod)
}

// service returns the service part of "/service/Method".
func service(fullMethod string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	return name
}

// Call runs the handler, whose request dec fills in, and then gives its answer to out. It returns the error of either
// as it is; a panic, also of dec and out, becomes an error that has its stack.
func (m Method) Call(ctx context.Context, dec, out func(any) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = newPanicError(p)
		}
	}()
	answer, err := m.handler(m.impl, ctx, dec, nil)
	if err != nil {
		return err
	}
	return out(answer)
}
