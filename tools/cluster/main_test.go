package main

import (
	"testing"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

func TestObituary(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code        int
		again, want string
	}{
		{2, "", "redis ended with code 2; its log is l\n"},
		{-1, "", "redis was killed; its log is l\n"},
		{0, "env x", "redis ended with code 0; its log is l\nstart it again by: env x\nCtrl-C in its own terminal ends that one, not Ctrl-C here\n"},
	} {
		if got := obituary("redis", tt.code, "l", tt.again); got != tt.want {
			t.Errorf("obituary(%d) = %q; want %q", tt.code, got, tt.want)
		}
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	service := &local.Process{Name: "group-2", Targets: []string{"group", "user"}}
	if got, want := again("d", service, false), "env $(cat d/processes/group-2.env) "+service.Command(); got != want {
		t.Errorf("again of a service = %q; want %q", got, want)
	}
	part := &local.Process{Name: "redis"}
	if got := again("d", part, false); got != "" {
		t.Errorf("again of Redis = %q; want nothing", got)
	}
	if got := again("d", part, true); got != part.Command() {
		t.Errorf("again of a NATS server = %q; want its command", got)
	}
}
