package wire

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// The public services. A new service is named here once; router and gateways find it through Methods.
	_ "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	_ "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	_ "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	optionsv1 "github.com/oceanchat/oceanchat/gen/oceanchat/options/v1"
	_ "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	_ "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	_ "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	_ "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
)

// Method is a public method. connect, ping and ack are the gateway's own and are not among them.
type Method struct {
	Name       string // "message.send"
	FullMethod string // "/oceanchat.message.v1.MessageService/Send"
	Realtime   bool   // on the long connection too
	Public     bool   // needs no access token
	Descriptor protoreflect.MethodDescriptor

	request, response protoreflect.MessageType
}

// NewRequest returns an empty request of the method.
func (m Method) NewRequest() proto.Message { return m.request.New().Interface() }

// NewResponse returns an empty answer of the method.
func (m Method) NewResponse() proto.Message { return m.response.New().Interface() }

// Methods returns all public methods by name. A method is public if it carries the option oceanchat.options.v1.method.
func Methods() []Method {
	return slices.SortedFunc(maps.Values(methods()), func(a, b Method) int { return cmp.Compare(a.Name, b.Name) })
}

// Lookup returns the public method of a name such as "message.send".
func Lookup(name string) (Method, bool) {
	m, ok := methods()[name]
	return m, ok
}

// methods reads the descriptors once; what is linked in does not change.
var methods = sync.OnceValue(func() map[string]Method {
	all := map[string]Method{}
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(fd.Package()), "oceanchat.") {
			addMethods(all, fd.Services())
		}
		return true
	})
	return all
})

// patches names the requests of methods that REST has as PATCH.
var patches = sync.OnceValue(func() map[protoreflect.FullName]bool {
	all := map[protoreflect.FullName]bool{}
	for _, m := range methods() {
		rule, ok := proto.GetExtension(m.Descriptor.Options(), annotations.E_Http).(*annotations.HttpRule)
		if ok && rule.GetPatch() != "" {
			all[m.Descriptor.Input().FullName()] = true
		}
	}
	return all
})

func addMethods(all map[string]Method, services protoreflect.ServiceDescriptors) {
	for i := range services.Len() {
		list := services.Get(i).Methods()
		for j := range list.Len() {
			if m, ok := newMethod(list.Get(j)); ok {
				all[m.Name] = m
			}
		}
	}
}

func newMethod(md protoreflect.MethodDescriptor) (Method, bool) {
	if !proto.HasExtension(md.Options(), optionsv1.E_Method) {
		return Method{}, false
	}
	opts, ok := proto.GetExtension(md.Options(), optionsv1.E_Method).(*optionsv1.MethodOptions)
	request, err1 := protoregistry.GlobalTypes.FindMessageByName(md.Input().FullName())
	response, err2 := protoregistry.GlobalTypes.FindMessageByName(md.Output().FullName())
	if !ok || err1 != nil || err2 != nil {
		return Method{}, false
	}
	return Method{
		Name:       methodName(md),
		FullMethod: "/" + string(md.Parent().FullName()) + "/" + string(md.Name()),
		Realtime:   opts.GetRealtime(),
		Public:     opts.GetPublic(),
		Descriptor: md,
		request:    request,
		response:   response,
	}, true
}

// methodName turns oceanchat.message.v1.MessageService.MarkRead into message.markRead.
func methodName(md protoreflect.MethodDescriptor) string {
	pkg := strings.TrimPrefix(string(md.ParentFile().Package()), "oceanchat.")
	service, _, _ := strings.Cut(pkg, ".")
	verb := string(md.Name())
	return service + "." + strings.ToLower(verb[:1]) + verb[1:]
}
