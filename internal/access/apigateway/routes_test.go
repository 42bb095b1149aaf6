package apigateway_test

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// text is m in one line of a stable form.
func text(m proto.Message) string {
	out := prototext.MarshalOptions{}.Format(m)
	return strings.TrimSpace(strings.ReplaceAll(out, "  ", " "))
}

// binding is a method at one verb and path, as declared.
type binding struct {
	method     wire.Method
	verb, path string
}

// bindings reads the annotations, independently of the code under test.
func bindings(t *testing.T) []binding {
	t.Helper()
	var all []binding
	for _, m := range wire.Methods() {
		if !proto.HasExtension(m.Descriptor.Options(), annotations.E_Http) {
			continue
		}
		rule := proto.GetExtension(m.Descriptor.Options(), annotations.E_Http).(*annotations.HttpRule)
		for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			f := r.ProtoReflect().WhichOneof(r.ProtoReflect().Descriptor().Oneofs().ByName("pattern"))
			all = append(all, binding{m, strings.ToUpper(string(f.Name())), r.ProtoReflect().Get(f).String()})
		}
	}
	if len(all) < 40 {
		t.Fatalf("%d bindings; want all of the contract", len(all))
	}
	return all
}

var parameter = regexp.MustCompile(`{[a-z_]+}`)

// APIGW-1: every declared route reaches its method, and no other.
// APIGW-2: with the identity of the token, and without a token only if the method is public.
// APIGW-4: under the request id that the caller gets back.
func TestEveryRoute(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	want := calls.Identity{UserID: "ann", SessionID: "s-ann", DeviceID: "d1", Platform: 1}
	for _, b := range bindings(t) {
		t.Run(b.verb+" "+b.path, func(t *testing.T) {
			path := parameter.ReplaceAllString(b.path, "x1")
			if got := r.do(b.verb, path, "", ""); (got.status == 200) != b.method.Public {
				t.Errorf("without a token = %d %s; public is %t", got.status, got.body, b.method.Public)
			}
			for _, c := range r.services.take() {
				if !b.method.Public || c.identity != (calls.Identity{}) {
					t.Errorf("without a token %s was called for %v", c.method, c.identity)
				}
			}
			got := r.do(b.verb, path, ann, "", "X-Request-Id", "my-request_1")
			if got.status != 200 || got.header.Get("X-Request-Id") != "my-request_1" {
				t.Fatalf("= %d %s, request id %q; want 200 and the id sent", got.status, got.body, got.header.Get("X-Request-Id"))
			}
			reached := r.services.take()
			if len(reached) != 1 {
				t.Fatalf("%d calls; want 1", len(reached))
			}
			c := reached[0]
			if c.method != b.method.FullMethod || c.requestID != "my-request_1" || !c.deadline {
				t.Errorf("reached %s, request id %q, deadline %t; want %s with both", c.method, c.requestID, c.deadline, b.method.FullMethod)
			}
			if b.method.Public {
				want := calls.Identity{}
				if c.identity != want {
					t.Errorf("public method has identity %v; want none", c.identity)
				}
			} else if c.identity != want {
				t.Errorf("identity = %v; want %v", c.identity, want)
			}
			checkParameters(t, b.path, c.request)
		})
	}
}

// checkParameters holds that each parameter of the path arrived in its field.
func checkParameters(t *testing.T, path string, req proto.Message) {
	t.Helper()
	for _, p := range parameter.FindAllString(path, -1) {
		name := protoreflect.Name(strings.Trim(p, "{}"))
		f := req.ProtoReflect().Descriptor().Fields().ByName(name)
		if got := req.ProtoReflect().Get(f).String(); got != "x1" {
			t.Errorf("%s = %q; want x1", name, got)
		}
	}
}

// A fixed path wins over a parameter at the same place, whatever the order of declaration.
func TestFixedPathWins(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	for path, want := range map[string]string{
		"GET /users/me":                "/oceanchat.user.v1.UserService/GetMe",
		"GET /users/mee":               "/oceanchat.user.v1.UserService/Get",
		"DELETE /groups/g1/members/me": "/oceanchat.group.v1.GroupService/Leave",
		"DELETE /groups/g1/members/u1": "/oceanchat.group.v1.GroupService/RemoveMember",
	} {
		verb, path, _ := strings.Cut(path, " ")
		got := r.do(verb, path, ann, "")
		reached := r.services.take()
		if got.status != 200 || len(reached) != 1 || reached[0].method != want {
			t.Errorf("%s %s = %d, calls %v; want %s", verb, path, got.status, reached, want)
		}
	}
}
