package config_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/config"
)

// root is a small model of the real one: sections by target name, one of them deeper.
type root struct {
	DataDir    string   `yaml:"data_dir" default:"./oceanchat-data" min:"1" doc:"Where everything is kept."`
	HTTP       httpConf `yaml:"http" doc:"REST and WebSocket."`
	APIGateway gateway  `yaml:"api_gateway"`
	Log        logConf  `yaml:"log" doc:"The log of entries."`
	Push       struct {
		APNS apns `yaml:"apns"`
	} `yaml:"push"`
}

type httpConf struct {
	Addr    string   `yaml:"addr" default:":8080" min:"1" format:"addr" doc:"Where to listen."`
	Origins []string `yaml:"origins" default:"a.example, b.example" max:"3" doc:"Allowed origins."`
	Gzip    bool     `yaml:"gzip" doc:"Compress answers."`
}

type gateway struct {
	RateLimit float64       `yaml:"rate_limit" default:"0" min:"0" doc:"Requests per second; 0 is off."`
	Timeout   time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"1h" doc:"How long a request may take."`
	Retries   uint8         `yaml:"retries" default:"3" doc:"How often to repeat."`
}

type logConf struct {
	Sync     string       `yaml:"sync" default:"always" enum:"always,interval" doc:"When to fsync."`
	MaxBytes config.Bytes `yaml:"max_bytes" default:"10GiB" min:"1MiB" doc:"The most a partition takes."`
	Level    slog.Level   `yaml:"level" default:"INFO" doc:"Least level of lines."`
	_        int
}

type apns struct {
	KeyID string        `yaml:"key_id" doc:"Id of the key."`
	Key   config.Secret `yaml:"key" doc:"The key."`
}

// Validate holds a rule between two fields.
func (c apns) Validate() error {
	if (c.KeyID == "") != (c.Key == "") {
		return errors.New("want both key_id and key, or neither")
	}
	return nil
}

func defaults() root {
	return root{
		DataDir:    "./oceanchat-data",
		HTTP:       httpConf{Addr: ":8080", Origins: []string{"a.example", "b.example"}},
		APIGateway: gateway{Timeout: 10 * time.Second, Retries: 3},
		Log:        logConf{Sync: "always", MaxBytes: 10 << 30},
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "oc.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		file string
		env  []string
		args []string
		want func(*root)
	}{
		{name: "defaults alone", want: func(*root) {}},
		{
			name: "the file wins over defaults",
			file: "http:\n  addr: :1\n  origins: [\"x,y\"]\nlog: {sync: interval, max_bytes: 4194304, level: warn}\n",
			want: func(r *root) {
				r.HTTP.Addr, r.HTTP.Origins = ":1", []string{"x,y"}
				r.Log = logConf{Sync: "interval", MaxBytes: 4 << 20, Level: slog.LevelWarn}
			},
		},
		{
			name: "the environment wins over the file",
			file: "http: {addr: \":1\", gzip: true}",
			env:  []string{"OCEANCHAT_HTTP_ADDR=:2", "PATH=/bin", "OCEANCHAT_HTTP_ORIGINS="},
			want: func(r *root) { r.HTTP = httpConf{Addr: ":2", Gzip: true} },
		},
		{
			name: "flags win over the environment, the last one over others",
			env:  []string{"OCEANCHAT_HTTP_ADDR=:2"},
			args: []string{"--http-addr=:3", "--http.addr", ":4"},
			want: func(r *root) { r.HTTP.Addr = ":4" },
		},
		{
			name: "both forms of a longer flag, and a bool without value",
			args: []string{"--api-gateway-rate-limit", "-0", "--api_gateway.timeout=1m", "--http-gzip", "--log-max-bytes=64MiB"},
			want: func(r *root) {
				r.APIGateway.Timeout, r.HTTP.Gzip, r.Log.MaxBytes = time.Minute, true, 64<<20
			},
		},
		{
			name: "a bool with value",
			env:  []string{"OCEANCHAT_HTTP_GZIP=true"},
			args: []string{"--http-gzip=false"},
			want: func(*root) {},
		},
		{name: "an empty file", file: "# nothing\n", want: func(*root) {}},
		{name: "a section whose keys are commented out", file: "http:\n  # addr: x\n", want: func(*root) {}},
		{
			name: "anchors",
			file: "data_dir: &d /data\npush: {apns: {key_id: *d, key: *d}}\n",
			want: func(r *root) { r.DataDir, r.Push.APNS = "/data", apns{"/data", "/data"} },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := tt.args
			if tt.file != "" {
				args = append([]string{"--config", write(t, tt.file)}, args...)
			}
			got, want := root{DataDir: "left over"}, defaults()
			tt.want(&want)
			if _, err := config.Load(&got, config.Sources{Args: args, Env: tt.env}); err != nil {
				t.Fatalf("Load(%q, %q) = %v; want no error", args, tt.env, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Load(%q, %q): -want +got\n%s", args, tt.env, diff)
			}
		})
	}
}

func TestLoadReturnsTheRest(t *testing.T) {
	t.Parallel()
	file := write(t, "data_dir: /data")
	var r root
	got, err := config.Load(&r, config.Sources{
		Args: []string{"router", "--http-gzip", "message", "-", "--", "--not-a-flag"},
		Env:  []string{"OCEANCHAT_CONFIG=" + file, "OCEANCHAT_HTPP_ADDR=secret", "OCEANCHAT_http_addr=:1"},
	})
	if err != nil {
		t.Fatalf("Load = %v; want no error", err)
	}
	want := config.Loaded{
		File: file,
		Args: []string{"router", "message", "-", "--not-a-flag"},
		Warnings: []string{
			"environment variable OCEANCHAT_HTPP_ADDR names no setting",
			"environment variable OCEANCHAT_http_addr names no setting",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load: -want +got\n%s", diff)
	}
	if r.DataDir != "/data" {
		t.Errorf("OCEANCHAT_CONFIG was not read: data_dir = %q", r.DataDir)
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		file string
		env  []string
		args []string
		want []string // the lines of the error; FILE stands for the file's path
	}{
		{"unknown key", "http:\n  adr: :1\n", nil, nil, []string{"FILE:2: unknown key http.adr"}},
		{"unknown section", "a: 1\nhtpp:\n  addr: :1\n", nil, nil, []string{"FILE:1: unknown key a", "FILE:2: unknown key htpp"}},
		{"dotted key", "http.addr: :1\n", nil, nil, []string{"FILE:1: unknown key http.addr"}},
		{"empty key", "\"\": {data_dir: x}\n", nil, nil, []string{"FILE:1: unknown key "}},
		{"key twice", "data_dir: a\ndata_dir: b\n", nil, nil, []string{"FILE:2: key data_dir is there twice"}},
		{"number for a string", "http:\n  addr: 5\n", nil, nil, []string{
			`http.addr = "5" (FILE:2): want a string; quote what looks like something else`,
		}},
		{"number for a secret", "push: {apns: {key: 5555}}", nil, nil, []string{
			`push.apns.key = *** (FILE:1): want a string; quote what looks like something else`,
		}},
		{"no value", "data_dir:\n", nil, nil, []string{`data_dir = "" (FILE:1): want a value; "" is the empty one`}},
		{"scalar for a section", "http: 5", nil, nil, []string{"FILE:1: http: want a section of keys and values"}},
		{"section for a scalar", "data_dir: {a: b}", nil, nil, []string{`data_dir = "" (FILE:1): want a single value`}},
		{"list for the file", "- a", nil, nil, []string{"FILE:1: the file: want a section of keys and values"}},
		{"scalar for a list", "http: {origins: a}", nil, nil, []string{`http.origins = "a" (FILE:1): want a list, [a, b]`}},
		{"number in a list", "http: {origins: [a, 5]}", nil, nil, []string{
			`http.origins = "a,5" (FILE:1): want a list of strings; quote what looks like something else`,
		}},
		{"not YAML", "http: [", nil, nil, []string{
			"configuration file FILE: yaml: line 1: did not find expected node content",
		}},
		{"two documents", "data_dir: a\n---\ndata_dir: b\n", nil, nil, []string{"configuration file FILE: want one YAML document"}},
		{"too large", strings.Repeat("#", 1<<20+1), nil, nil, []string{
			"read configuration file: FILE is larger than 1048576 bytes",
		}},
		{"enum", "log:\n  sync: sometimes\n", nil, nil, []string{`log.sync = "sometimes" (FILE:2): want one of always, interval`}},
		{"no number", "", []string{"OCEANCHAT_API_GATEWAY_RATE_LIMIT=abc"}, nil, []string{
			`api_gateway.rate_limit = "abc" (environment OCEANCHAT_API_GATEWAY_RATE_LIMIT): want a number`,
		}},
		{"negative", "", nil, []string{"--api-gateway-rate-limit=-1", "--api-gateway-retries=-1"}, []string{
			`api_gateway.retries = "-1" (flag --api-gateway-retries): want a whole number, 0 or above`,
			`api_gateway.rate_limit = "-1" (flag --api-gateway-rate-limit): want at least 0`,
		}},
		{"below the bound", "", nil, []string{"--api-gateway-rate-limit=-1", "--log-max-bytes=1KiB"}, []string{
			`api_gateway.rate_limit = "-1" (flag --api-gateway-rate-limit): want at least 0`,
			`log.max_bytes = "1KiB" (flag --log-max-bytes): want at least 1MiB`,
		}},
		{"above the bound", "", nil, []string{"--api-gateway-timeout=2h", "--http.origins=a,b,c,d"}, []string{
			`http.origins = "a,b,c,d" (flag --http.origins): want at most 3 values`,
			`api_gateway.timeout = "2h" (flag --api-gateway-timeout): want at most 1h`,
		}},
		{"wrong kinds", "", nil, []string{
			"--http-gzip=yes", "--api-gateway-rate-limit=NaN", "--api-gateway-timeout=10", "--api-gateway-retries=256",
			"--log-max-bytes=-1",
		}, []string{
			`http.gzip = "yes" (flag --http-gzip): want true or false`,
			`api_gateway.rate_limit = "NaN" (flag --api-gateway-rate-limit): want a number`,
			`api_gateway.timeout = "10" (flag --api-gateway-timeout): want a duration such as 1h, 30s or 250ms`,
			`api_gateway.retries = "256" (flag --api-gateway-retries): the number is too large`,
			`log.max_bytes = "-1" (flag --log-max-bytes): want a size such as 4096, 64KiB or 10GiB`,
		}},
		{"empty", "", []string{"OCEANCHAT_DATA_DIR="}, nil, []string{
			`data_dir = "" (environment OCEANCHAT_DATA_DIR): want a value that is not empty`,
		}},
		{"no address", "", nil, []string{"--http-addr", "8080"}, []string{
			`http.addr = "8080" (flag --http-addr): want host:port or :port, with a port up to 65535`,
		}},
		{"no port", "", nil, []string{"--http-addr", ":http"}, []string{
			`http.addr = ":http" (flag --http-addr): want host:port or :port, with a port up to 65535`,
		}},
		{"unknown flags", "", nil, []string{"--htp-addr=secret", "-v"}, []string{
			"unknown flag --htp-addr; --help lists all", "unknown flag -v; --help lists all",
		}},
		{"a section is no flag", "", nil, []string{"--http", "x"}, []string{"unknown flag --http; --help lists all"}},
		{"no value behind flags", "", nil, []string{"--http-addr", "--data-dir"}, []string{
			"flag --http-addr: want a value", "flag --data-dir: want a value",
		}},
		{"unknown file", "", nil, []string{"--config", "no/such"}, []string{
			"read configuration file: open no/such: no such file or directory",
		}},
		{"a section's own rule", "", nil, []string{"--push-apns-key=secret"}, []string{
			"push.apns: want both key_id and key, or neither",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args, path := tt.args, ""
			if tt.file != "" {
				path = write(t, tt.file)
				args = append([]string{"--config", path}, args...)
			}
			_, err := config.Load(&root{}, config.Sources{Args: args, Env: tt.env})
			if err == nil {
				t.Fatalf("Load(%q, %q) = nil; want an error", args, tt.env)
			}
			got := strings.Split(err.Error(), "\n")
			if path != "" {
				got = strings.Split(strings.ReplaceAll(err.Error(), path, "FILE"), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Load(%q, %q): -want +got\n%s", args, tt.env, diff)
			}
		})
	}
}

func TestLoadHelp(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"-h", "--help"} {
		_, err := config.Load(&root{}, config.Sources{Args: []string{"--unknown", arg}})
		if !errors.Is(err, config.ErrHelp) {
			t.Errorf("Load(%s) = %v; want ErrHelp", arg, err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	r := defaults()
	if err := config.Validate(&r); err != nil {
		t.Fatalf("Validate(defaults) = %v; want nil", err)
	}
	r.DataDir, r.Log.Sync, r.Push.APNS.KeyID = "", "never", "k"
	want := "data_dir = \"\": want a value that is not empty\n" +
		"log.sync = \"never\": want one of always, interval\n" +
		"push.apns: want both key_id and key, or neither"
	if err := config.Validate(&r); err == nil || err.Error() != want {
		t.Errorf("Validate = %v; want %s", err, want)
	}
}

type pair struct {
	N int `yaml:"n" max:"1" doc:"N."`
}

var errPair = errors.New("second")

func (*pair) Validate() error { return errors.Join(errors.New("first"), errPair) }

func TestValidateTakesJoinedErrorsApart(t *testing.T) {
	t.Parallel()
	r := struct {
		Pair pair `yaml:"pair"`
	}{pair{N: 2}}
	err := config.Validate(&r)
	want := "pair.n = \"2\": want at most 1\npair: first\npair: second"
	if err == nil || err.Error() != want || !errors.Is(err, errPair) {
		t.Errorf("Validate = %v; want %s, with its causes", err, want)
	}
}

func TestMistakesInTheDeclaration(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		root any
		want string
	}{
		{"no pointer", root{}, "settings are a config_test.root; want a pointer to a struct"},
		{"no tag", &struct{ A int }{}, `field A of struct { A int }: want a tag yaml:"lower_case_key"`},
		{"no doc", &struct {
			A int `yaml:"a"`
		}{}, "setting a: want a tag doc"},
		{"no setting", &struct {
			A map[string]int `yaml:"a" doc:"A."`
		}{}, "setting a: a map[string]int cannot be a setting"},
		{"bad default", &struct {
			A int `yaml:"a" doc:"A." default:"x"`
		}{}, `setting a: default "x": want a whole number`},
		{"bad bound", &struct {
			A time.Duration `yaml:"a" doc:"A." min:"1"`
		}{}, `setting a: bound "1": want a duration such as 1h, 30s or 250ms`},
		{"bound of a bool", &struct {
			A bool `yaml:"a" doc:"A." min:"1"`
		}{}, "setting a: a bool has no min or max"},
		{"secret with a default", &struct {
			A config.Secret `yaml:"a" doc:"A." default:"hunter2"`
		}{}, "setting a: a secret has no default"},
		{"key twice", &struct {
			A int `yaml:"a" doc:"A."`
			B int `yaml:"a" doc:"B."`
		}{}, "setting a: the key is there twice"},
		{"one variable for two", &struct {
			A int `yaml:"a_b" doc:"A."`
			B struct {
				C int `yaml:"b" doc:"C."`
			} `yaml:"a"`
		}{}, "settings a_b and a.b: both are OCEANCHAT_A_B in the environment"},
		{"reserved", &struct {
			A string `yaml:"config" doc:"A."`
		}{}, "setting config: the name is taken by a flag"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(tt.root, config.Sources{})
			if err == nil || err.Error() != tt.want {
				t.Errorf("Load(%T) = %v; want %s", tt.root, err, tt.want)
			}
		})
	}
}

// Whatever stands in a file, Load answers and does not panic.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"http:\n  addr: :1\n", "a: &a [*a]", "http: &a {addr: *a}", "? {a: b}\n: c", "push: {apns: {key: !!binary aGk=}}",
		"<<: {data_dir: x}", "log: {max_bytes: 0x10, level: ~}", "\"\": {}", "%YAML 1.2\n---\n...",
	} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "oc.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var r root
		if _, err := config.Load(&r, config.Sources{Args: []string{"--config", path}}); err != nil {
			return
		}
		if err := config.Validate(&r); err != nil {
			t.Errorf("Load(%q) = nil, but Validate = %v", text, err)
		}
	})
}
