package wire_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		full     string
		realtime bool
		public   bool
	}{
		{"message.send", "/oceanchat.message.v1.MessageService/Send", true, false},
		{"message.markRead", "/oceanchat.message.v1.MessageService/MarkRead", true, false},
		{"auth.login", "/oceanchat.auth.v1.AuthService/Login", false, true},
		{"auth.listSessions", "/oceanchat.auth.v1.AuthService/ListSessions", true, false},
		{"query.sync", "/oceanchat.query.v1.QueryService/Sync", true, false},
		{"push.register", "/oceanchat.push.v1.PushService/Register", true, false},
	}
	for _, tt := range tests {
		m, ok := wire.Lookup(tt.name)
		if !ok || m.FullMethod != tt.full || m.Realtime != tt.realtime || m.Public != tt.public {
			t.Errorf("Lookup(%s) = %+v, %v; want %+v", tt.name, m, ok, tt)
		}
	}
	for _, name := range []string{"", "ping", "connect", "message.append", "message.Send", "auth.verify", "router.route", "wsgateway.deliver"} {
		if _, ok := wire.Lookup(name); ok {
			t.Errorf("Lookup(%q) = found; want not", name)
		}
	}
	m, _ := wire.Lookup("message.send")
	if _, ok := m.NewRequest().(*messagev1.SendRequest); !ok {
		t.Errorf("NewRequest = %T; want *SendRequest", m.NewRequest())
	}
	if _, ok := m.NewResponse().(*messagev1.SendResponse); !ok {
		t.Errorf("NewResponse = %T; want *SendResponse", m.NewResponse())
	}
}

// Every method of a service that is bound to HTTP is in the registry, and nothing of an internal one is; register, login
// and refresh alone need no token and stand at the REST door only.
func TestMethodsAreAllOfThePublicServices(t *testing.T) {
	t.Parallel()
	all := map[string]wire.Method{}
	for _, m := range wire.Methods() {
		all[m.FullMethod] = m
		if strings.Contains(m.FullMethod, "Internal") {
			t.Errorf("Methods() has %s; want no internal one", m.FullMethod)
		}
		if m.Public == m.Realtime {
			t.Errorf("%s: public %v, realtime %v; want one of the two", m.Name, m.Public, m.Realtime)
		}
	}
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(fd.Package()), "oceanchat.") || !imports(fd, "google/api/annotations.proto") {
			return true
		}
		for i := range fd.Services().Len() {
			s := fd.Services().Get(i)
			for j := range s.Methods().Len() {
				full := "/" + string(s.FullName()) + "/" + string(s.Methods().Get(j).Name())
				if _, ok := all[full]; !ok {
					t.Errorf("Methods() lacks %s", full)
				}
			}
		}
		return true
	})
	if len(all) < 40 {
		t.Errorf("len(Methods()) = %d; want at least 40", len(all))
	}
}

// notGET are the methods without side effects that REST does not have as GET, with the reason.
var notGET = map[string]string{
	"/oceanchat.query.v1.QueryService/Sync":                     "reads; its token is too long for a URL",
	"/oceanchat.auth.v1.AuthInternalService/CheckSessions":      "at most puts open sessions back on the allow-list",
	"/oceanchat.auth.v1.AuthInternalService/GetKeys":            "",
	"/oceanchat.auth.v1.AuthInternalService/Verify":             "at most puts an open session back on the allow-list",
	"/oceanchat.group.v1.GroupInternalService/GetMemberSet":     "at most completes a change, as every reading of a group may",
	"/oceanchat.group.v1.GroupInternalService/GetMembership":    "as GetMemberSet",
	"/oceanchat.group.v1.GroupInternalService/ListMemberships":  "as GetMemberSet",
	"/oceanchat.group.v1.GroupInternalService/MaySend":          "as GetMemberSet",
	"/oceanchat.group.v1.GroupInternalService/ShareGroup":       "as GetMemberSet",
	"/oceanchat.message.v1.MessageInternalService/GetHeads":     "",
	"/oceanchat.message.v1.MessageInternalService/GetPositions": "",
	"/oceanchat.message.v1.MessageInternalService/ReadTail":     "",
	"/oceanchat.presence.v1.PresenceInternalService/Lookup":     "",
	"/oceanchat.user.v1.UserInternalService/FindUsername":       "",
	"/oceanchat.user.v1.UserInternalService/GetProfiles":        "",
	"/oceanchat.user.v1.UserInternalService/GetRelation":        "",
	"/oceanchat.user.v1.UserInternalService/GetUserSettings":    "",
	"/oceanchat.user.v1.UserInternalService/ListFriendIds":      "",
}

// The network repeats what is declared free of side effects: every GET is, and else nothing that nobody looked at.
func TestNoSideEffects(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			list := fd.Services().Get(i).Methods()
			for j := range list.Len() {
				full := "/" + string(fd.Services().Get(i).FullName()) + "/" + string(list.Get(j).Name())
				rule, _ := proto.GetExtension(list.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
				switch get, free := rule.GetGet() != "", calls.NoSideEffects(full); {
				case get && !free:
					t.Errorf("%s is a GET; want it declared free of side effects", full)
				case free && !get:
					got[full] = notGET[full]
				}
			}
		}
		return true
	})
	if diff := cmp.Diff(notGET, got); diff != "" {
		t.Errorf("methods without side effects that are no GET (-want +got):\n%s", diff)
	}
}

func imports(fd protoreflect.FileDescriptor, path string) bool {
	for i := range fd.Imports().Len() {
		if fd.Imports().Get(i).Path() == path {
			return true
		}
	}
	return false
}
