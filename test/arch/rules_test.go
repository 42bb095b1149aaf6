package arch_test

// A pattern names packages by their path below the module: "internal/chat" is that one package,
// "internal/seam/*" any direct child, "gen/..." the package and all below it.

// Groups of packages that the table names more than once.
var (
	level0 = []string{"internal/chat", "internal/fault"}
	level1 = []string{"gen/..."}
	level2 = []string{"internal/config", "internal/durable", "internal/finding", "internal/freeport", "internal/journey", "internal/lifecycle", "internal/netdoor", "internal/obs", "internal/token", "internal/wire"}
	level3 = []string{"internal/seam/*", "internal/convlog", "internal/permit"}
	upTo1  = join(level0, level1)
	upTo2  = join(level0, level1, level2)
	upTo3  = join(level0, level1, level2, level3)
)

// layer says what the packages of from may import of this module; all the rest is forbidden to them.
type layer struct {
	from    string
	may     []string
	stdOnly bool // and nothing from other modules
	why     string
}

// layers is read from the top: the first line that names a package counts. A package may always import
// what lies below its own line's folder when from ends in "/...".
var layers = []layer{
	{from: "internal/fault", stdOnly: true, why: "level 0: the error model is at the bottom of everything"},
	{from: "internal/chat", may: []string{"internal/fault"}, stdOnly: true, why: "level 0: domain words are pure functions"},
	{from: "gen/...", may: level1, why: "level 1: generated code knows only its runtimes"},
	{from: "internal/config", may: upTo1, why: "level 2: helpers know no seam and not each other"},
	{from: "internal/durable", stdOnly: true, why: "level 2: files that outlive a power cut"},
	{from: "internal/freeport", stdOnly: true, why: "level 2: ports for processes that are started"},
	{from: "internal/finding", may: upTo1, why: "level 2: helpers know no seam and not each other"},
	{from: "internal/journey", may: upTo1, why: "level 2: helpers know no seam and not each other"},
	{from: "internal/lifecycle", may: upTo1, why: "level 2: helpers know no seam and not each other"},
	{from: "internal/netdoor", may: upTo1, why: "level 2: helpers know no seam and not each other"},
	{from: "internal/obs", may: upTo1, why: "level 2: helpers know no seam and not each other"},
	{from: "internal/wire", may: upTo1, why: "level 2: helpers know no seam and not each other"},
	{from: "internal/token", may: upTo1, why: "level 2: helpers know no seam and not each other"},

	{from: "internal/permit", may: []string{"gen/...", "internal/chat", "internal/fault"}, why: "level 3: one pure answer to who may do what"},
	{from: "internal/convlog", may: join(upTo2, []string{"internal/seam/backbone"}), why: "level 3: the log knows the backbone; app fills in the rest"},
	{from: "internal/seam/backbone", may: upTo2, why: "level 3: a seam knows no other seam and no implementation"},
	{from: "internal/seam/calls", may: upTo2, why: "level 3: a seam knows no other seam and no implementation"},
	{from: "internal/seam/faststate", may: upTo2, why: "level 3: a seam knows no other seam and no implementation"},
	{from: "internal/seam/store", may: upTo2, why: "level 3: a seam knows no other seam and no implementation"},
	{from: "internal/seam/media", may: upTo2, why: "level 3: a seam knows no other seam and no implementation"},

	{
		from: "internal/seam/backbone/embedded", may: join(upTo2, []string{"internal/seam/backbone", "internal/seam/backbone/jetstream"}),
		why: "level 4: the embedded server is spoken to as any other",
	},
	{from: "internal/seam/backbone/jetstream", may: join(upTo2, []string{"internal/seam/backbone"}), why: "level 4: an implementation knows its own seam"},
	{from: "internal/seam/calls/crossing", may: join(upTo2, []string{"internal/seam/calls"}), why: "what the implementations of calls share, and services never see"},
	{
		from: "internal/seam/calls/inproc", may: join(upTo2, []string{"internal/seam/calls", "internal/seam/calls/crossing"}),
		why: "level 4: an implementation knows its own seam",
	},
	{
		from: "internal/seam/calls/nats", may: join(upTo2, []string{"internal/seam/calls", "internal/seam/calls/crossing", "internal/seam/backbone"}),
		why: "level 4: requests over the backbone's connection",
	},
	{
		from: "internal/seam/calls/grpcnet", may: join(upTo2, []string{"internal/seam/calls", "internal/seam/calls/crossing"}),
		why: "level 4: an implementation knows its own seam",
	},
	{from: "internal/seam/faststate/memory", may: join(upTo2, []string{"internal/seam/faststate"}), why: "level 4: an implementation knows its own seam"},
	{from: "internal/seam/faststate/redis", may: join(upTo2, []string{"internal/seam/faststate"}), why: "level 4: an implementation knows its own seam"},
	{from: "internal/seam/store/counted", may: join(upTo2, []string{"internal/seam/store"}), why: "level 4: it wraps its own seam"},
	{from: "internal/seam/store/sqlite", may: join(upTo2, []string{"internal/seam/store"}), why: "level 4: an implementation knows its own seam"},
	{from: "internal/seam/store/mongo", may: join(upTo2, []string{"internal/seam/store"}), why: "level 4: an implementation knows its own seam"},
	{from: "internal/seam/media/local", may: join(upTo2, []string{"internal/seam/media"}), why: "level 4: an implementation knows its own seam"},
	{from: "internal/seam/media/s3", may: join(upTo2, []string{"internal/seam/media"}), why: "level 4: an implementation knows its own seam"},

	{from: "internal/access/apigateway/...", may: upTo3, why: service},
	{from: "internal/access/wsgateway/...", may: upTo3, why: service},
	{from: "internal/access/router/...", may: upTo3, why: service},
	{from: "internal/business/auth/...", may: upTo3, why: service},
	{from: "internal/business/user/...", may: upTo3, why: service},
	{from: "internal/business/group/...", may: upTo3, why: service},
	{from: "internal/business/message/...", may: upTo3, why: service},
	{from: "internal/delivery/orchestrator/...", may: upTo3, why: service},
	{from: "internal/delivery/pusherrealtime/...", may: upTo3, why: service},
	{from: "internal/delivery/pusheroffline/...", may: upTo3, why: service},
	{from: "internal/support/presence/...", may: upTo3, why: service},
	{from: "internal/support/query/...", may: upTo3, why: service},
	{from: "internal/support/persistence/...", may: upTo3, why: service},

	{from: "internal/app/...", may: []string{"internal/...", "gen/...", "sdk/go/...", "web/..."}, why: "level 6: the hall knows all but the door"},
	{from: "internal/command/...", may: []string{"internal/...", "gen/...", "sdk/go/..."}, why: "level 6: what the binary does besides serving"},
	{from: "cmd/oceanchat", may: []string{"internal/app", "internal/command", "internal/config", "internal/obs"}, why: "level 7: parse, run, exit code"},
	{from: "sdk/go/...", may: level1, why: "a client has the contract and nothing of the server"},
	{from: "web/...", why: "the web client's files, embedded"},
	{from: "tools/...", may: join(level1, []string{"internal/freeport"}), why: "helpers of development, no part of the product"},
}

const service = "level 5: a service reaches another through generated clients or the backbone, and knows no implementation"

// fence says that only some packages may import others: drivers stay behind their seam.
type fence struct {
	what string // an import path; what lies below it is meant too
	only []string
	why  string
	// tests lists packages whose test files may import it besides.
	tests []string
}

var fences = []fence{
	{what: "go.mongodb.org/mongo-driver", only: []string{"internal/seam/store/mongo"}, why: "the MongoDB driver stays behind its seam"},
	{what: "github.com/redis/go-redis", only: []string{"internal/seam/faststate/redis"}, why: "the Redis client stays behind its seam"},
	{what: "github.com/minio/minio-go", only: []string{"internal/seam/media/s3"}, why: "the S3 client stays behind its seam"},
	{
		what: "github.com/nats-io/nats-server", only: []string{"internal/seam/backbone/embedded"},
		why: "only one package runs a NATS server", tests: []string{"internal/seam/backbone/...", "internal/seam/calls/..."},
	},
	{
		what: "github.com/nats-io/nats.go", only: []string{"internal/seam/backbone/..."},
		why: "NATS stays behind the backbone", tests: []string{"internal/seam/calls/..."},
	},
	{what: "github.com/hanwen/go-fuse", only: []string{"test/power/disk"}, why: "file systems are for tests"},
	{what: "modernc.org/sqlite", only: []string{"internal/seam/store/sqlite", "sdk/go/sqlitestore"}, why: "the database driver stays behind its seam"},
	{what: "github.com/pires/go-proxyproto", only: []string{"internal/netdoor"}, why: "one package knows who a client is"},
	{what: "os/signal", only: []string{"cmd/...", "tools/cluster", "test/faults", "test/power"}, why: "signals are the business of main", tests: []string{"internal/...", "tools/..."}},
}

// notYet lists the patterns of the tables above whose packages are still to come. The list only shrinks:
// an entry whose package exists fails the test, and so does a pattern that names nothing and stands not here.
var notYet = []string{
	// Of later issues.
	"web/...",
}

// badNames say nothing about what a package owns.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "types", "model", "models"}

func join(groups ...[]string) []string {
	var all []string
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}
