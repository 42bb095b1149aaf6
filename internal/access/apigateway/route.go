package apigateway

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/oceanchat/oceanchat/internal/wire"
)

// route is one binding of a method to REST, as its annotation says.
type route struct {
	verb     string   // "GET"
	pattern  string   // "/users/{user_id=*}": how the mux names it
	name     string   // "/users/{userId}": how the log and metrics do
	segments []string // of the path; "" stands for a parameter
	public   bool     // needs no access token
	input    protoreflect.MessageDescriptor
}

// field returns the name of a parameter of the path as clients know it.
func (rt route) field(name string) string {
	if rt.input == nil {
		return name
	}
	return publicName(rt.input, name)
}

// routes is all bindings, by verb and pattern as "GET /users/{user_id=*}". It does not route: it says what is declared of
// the route that the mux chose, and which verbs a path has.
type routes map[string]route

// newRoutes reads the annotations of all public methods.
func newRoutes() routes {
	all := routes{}
	for _, m := range wire.Methods() {
		rule, ok := proto.GetExtension(m.Descriptor.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok || rule == nil {
			continue // on the long connection only
		}
		for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			rt := newRoute(m, r)
			all[rt.verb+" "+rt.pattern] = rt
		}
	}
	return all
}

func newRoute(m wire.Method, r *annotations.HttpRule) route {
	verb, path := binding(r)
	rt := route{verb: verb, name: publicPath(path, m.Descriptor.Input()), public: m.Public, input: m.Descriptor.Input()}
	rt.pattern = parameter.ReplaceAllString(path, "{$1=*}")
	for s := range strings.SplitSeq(path[1:], "/") {
		if strings.HasPrefix(s, "{") {
			s = ""
		}
		rt.segments = append(rt.segments, s)
	}
	return rt
}

// binding returns verb and path of a rule.
func binding(r *annotations.HttpRule) (verb, path string) {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, p.Get
	case *annotations.HttpRule_Put:
		return http.MethodPut, p.Put
	case *annotations.HttpRule_Post:
		return http.MethodPost, p.Post
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, p.Delete
	case *annotations.HttpRule_Patch:
		return http.MethodPatch, p.Patch
	default: // a custom verb, which the mux does not match without a pattern either
		return "", "/"
	}
}

var parameter = regexp.MustCompile(`{([a-z0-9_]+)}`)

// publicPath returns path with parameters as clients know them.
func publicPath(path string, in protoreflect.MessageDescriptor) string {
	return parameter.ReplaceAllStringFunc(path, func(p string) string {
		return "{" + publicName(in, strings.Trim(p, "{}")) + "}"
	})
}

// publicName returns a field's name in JSON.
func publicName(in protoreflect.MessageDescriptor, name string) string {
	if f := in.Fields().ByName(protoreflect.Name(name)); f != nil {
		return f.JSONName()
	}
	return name
}

// verbs returns the sorted verbs that a path has; none means that there is no such path.
func (rs routes) verbs(r *http.Request) []string {
	segments := split(r)
	var verbs []string
	for _, rt := range rs {
		if rt.matches(segments) && !slices.Contains(verbs, rt.verb) {
			verbs = append(verbs, rt.verb)
		}
	}
	slices.Sort(verbs)
	return verbs
}

func (rt route) matches(segments []string) bool {
	if len(segments) != len(rt.segments) {
		return false
	}
	for i, s := range rt.segments {
		if s != "" && s != segments[i] {
			return false
		}
	}
	return true
}

var slash = regexp.MustCompile(`/|%2[fF]`)

// split takes a request's path apart as the mux does: an escaped slash separates too.
func split(r *http.Request) []string {
	if r.URL.RawPath != "" {
		return slash.Split(strings.TrimPrefix(r.URL.RawPath, "/"), -1)
	}
	return strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
}
