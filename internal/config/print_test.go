package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/oceanchat/oceanchat/internal/config"
)

var update = flag.Bool("update", false, "write the golden files of this package")

// golden compares got with testdata/name; "go test ./internal/config -update" renews the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs, renew with go test ./internal/config -update: -want +got\n%s", path, diff)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	text, err := config.Defaults(&root{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "defaults.yaml", text)

	var got root
	if _, err := config.Load(&got, config.Sources{Args: []string{"--config", write(t, text)}}); err != nil {
		t.Fatalf("Load(Defaults) = %v; want no error", err)
	}
	if diff := cmp.Diff(defaults(), got); diff != "" {
		t.Errorf("Load(Defaults): -want +got\n%s", diff)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	text, err := config.Help(&root{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "help.txt", text)
}

func TestPrint(t *testing.T) {
	t.Parallel()
	r := defaults()
	r.DataDir = "a: \"b\"\n# " + strings.Repeat("long ", 40)
	r.HTTP.Origins = []string{"yes", "a, b", ""}
	text, err := config.Print(&r)
	if err != nil {
		t.Fatal(err)
	}
	var got root
	if _, err := config.Load(&got, config.Sources{Args: []string{"--config", write(t, text)}}); err != nil {
		t.Fatalf("Load(Print) = %v; want no error; the text was\n%s", err, text)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("Load(Print): -want +got\n%s", diff)
	}
}

// Invariant 9: no printer shows a secret.
func TestSecretIsMasked(t *testing.T) {
	t.Parallel()
	const text = "hunter2"
	var r root
	r.Push.APNS.Key = text
	s := r.Push.APNS.Key

	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%t"} {
		shown[verb] = fmt.Sprintf(verb, s)
		shown[verb+" of a struct"] = fmt.Sprintf(verb, r)
	}
	for name, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "yaml": yaml.Marshal} {
		out, err := marshal(r.Push.APNS)
		if err != nil {
			t.Fatal(err)
		}
		shown[name] = string(out)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "secret", s, "section", r)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", s, "section", r)
	shown["slog"] = logged.String()
	printed, err := config.Print(&r)
	if err != nil {
		t.Fatal(err)
	}
	shown["Print"] = printed

	for how, out := range shown {
		if strings.Contains(out, text) || strings.Contains(out, fmt.Sprintf("%x", text)) {
			t.Errorf("%s shows the secret: %s", how, out)
		}
		if !strings.Contains(out, "***") {
			t.Errorf("%s = %s; want *** in it", how, out)
		}
	}
	if got := s.Reveal(); got != text {
		t.Errorf("Reveal() = %q; want %q", got, text)
	}
	if got := config.Secret("").String(); got != "" {
		t.Errorf("the empty secret prints %q; want nothing", got)
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		want  config.Bytes
		print string // "" for an error
	}{
		{"0", 0, "0"},
		{"512", 512, "512"},
		{"512B", 512, "512"},
		{"1536", 1536, "1536"},
		{"10GiB", 10 << 30, "10GiB"},
		{"10 GiB", 10 << 30, "10GiB"},
		{"1024KiB", 1 << 20, "1MiB"},
		{"3MB", 3e6, "3MB"},
		{"8388607TiB", 8388607 << 40, "8388607TiB"},
		{in: "8388608TiB"},
		{in: "9223372036854775808"},
		{in: "-1"},
		{in: "1.5GiB"},
		{in: "GiB"},
		{in: "10gib"},
		{in: ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			var got config.Bytes
			err := got.UnmarshalText([]byte(tt.in))
			if (err == nil) != (tt.print != "") {
				t.Fatalf("UnmarshalText(%q) = %v; want an error: %t", tt.in, err, tt.print == "")
			}
			if err == nil && (got != tt.want || got.String() != tt.print) {
				t.Errorf("UnmarshalText(%q) = %d, %s; want %d, %s", tt.in, got, got, tt.want, tt.print)
			}
		})
	}
}
