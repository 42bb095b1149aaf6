package mongo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/oceanchat/oceanchat/internal/finding"
)

const (
	checkMongo = "mongodb"
	// diagnoseTimeout bounds a whole diagnosis, selectTimeout the search for a primary, so that there is time to tell.
	diagnoseTimeout = 5 * time.Second
	selectTimeout   = 3 * time.Second
	// slowRead is a linearizable read that senders feel.
	slowRead = 100 * time.Millisecond
	codeAuth = 18
)

// Diagnose looks at the database of cfg. It writes nothing and makes no index, needs none of the collections, and ends
// within five seconds.
func Diagnose(ctx context.Context, cfg Config) []finding.Finding {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	cs, err := connstring.ParseAndValidate(cfg.URI)
	if err != nil { // the text of the error may hold the password
		return []finding.Finding{finding.Bad(checkMongo, "the connection string is not valid, or the name of its hosts not known", "correct mongo.uri: mongodb://user:password@host1,host2,host3/oceanchat?replicaSet=rs0")}
	}
	o := options.Client().ApplyURI(cfg.URI).SetAppName("oceanchat doctor").SetServerSelectionTimeout(selectTimeout).
		SetConnectTimeout(selectTimeout).SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority())
	if cfg.tune != nil {
		cfg.tune(o)
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return []finding.Finding{finding.Bad(checkMongo, finding.Text(err), "correct mongo.uri")}
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }() // nothing is lost if it fails
	name := defaultDatabase
	if cs.Database != "" {
		name = cs.Database
	}
	d := &checkup{hosts: strings.Join(cs.Hosts, ","), client: client, data: client.Database(name)}
	return d.run(ctx)
}

// checkup is one diagnosis.
type checkup struct {
	hosts  string
	client *mongo.Client
	data   *mongo.Database
	is     hello
	build  build
}

// hello is what a server says of itself to everybody.
type hello struct {
	Wire     int       `bson:"maxWireVersion"`
	Set      string    `bson:"setName"`
	Msg      string    `bson:"msg"` // "isdbgrid" if it is a router of a sharded cluster
	Me       string    `bson:"me"`
	Hosts    []string  `bson:"hosts"`
	Arbiters []string  `bson:"arbiters"`
	Now      time.Time `bson:"localTime"`
}

// build is what a server says of its making. The real one names the version of its JavaScript engine.
type build struct {
	Version string `bson:"version"`
	Engine  string `bson:"javascriptEngine"`
}

func (h hello) sharded() bool { return h.Msg == "isdbgrid" }

func (d *checkup) run(ctx context.Context) []finding.Finding {
	if err := d.hello(ctx); err != nil {
		return []finding.Finding{d.unreached(err)}
	}
	sent := time.Now() // once more, on a connection that is there
	if err := d.hello(ctx); err != nil {
		return []finding.Finding{d.unreached(err)}
	}
	trip := time.Since(sent)
	var found []finding.Finding
	if err := d.data.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&d.build); err != nil {
		found = append(found, finding.Warn(checkMongo, "does not say its version: "+finding.Text(err), "give the user the role readWrite on the database"))
	}
	found = append(found, d.server(trip), d.members(ctx))
	if !d.is.Now.IsZero() {
		found = append(found, finding.Clock("clock of MongoDB", d.is.Now.Sub(sent.Add(trip/2)), trip/2+time.Millisecond))
	}
	found = append(found, d.majority(ctx))
	return append(found, d.indexes(ctx)...)
}

func (d *checkup) hello(ctx context.Context) error {
	err := d.data.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&d.is)
	var se mongo.ServerError
	if errors.As(err, &se) && se.HasErrorCode(codeCommandNotFound) {
		err = d.data.RunCommand(ctx, bson.D{{Key: "isMaster", Value: 1}}).Decode(&d.is)
	}
	return err
}

func (d *checkup) unreached(err error) finding.Finding {
	check, text := checkMongo+" "+d.hosts, finding.Text(err)
	var se mongo.ServerError
	switch {
	case errors.As(err, &se) && (se.HasErrorCode(codeAuth) || se.HasErrorCode(codeUnauthorized)), strings.Contains(text, "auth error"), strings.Contains(text, "sasl"):
		return finding.Bad(check, "does not let us in", "correct user, password and authSource in mongo.uri")
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"):
		return finding.Bad(check, "cannot be spoken with: "+text, "make tls and tlsCAFile in mongo.uri fit the server")
	case strings.Contains(text, "server selection"):
		return finding.Bad(check, "no primary is found: "+text, "start more than half of the members, or correct the hosts and replicaSet in mongo.uri")
	}
	return finding.Bad(check, "cannot be reached: "+text, "start it, or correct mongo.uri and the network between")
}

// server judges what answers.
func (d *checkup) server(trip time.Duration) finding.Finding {
	check := checkMongo + " " + d.hosts
	found := fmt.Sprintf("version %s, round trip %s", or(d.build.Version, "unknown"), finding.Round(trip))
	switch {
	case d.is.Wire < wireVersion:
		return finding.Bad(check, found, "run MongoDB 6.0 or newer")
	case d.build.Engine == "":
		return finding.Warn(check, found+"; this is not a real MongoDB", "use it for development only")
	}
	return finding.Good(check, "%s", found)
}

func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// status is what replSetGetStatus says, to users with the role clusterMonitor.
type status struct {
	Date    time.Time `bson:"date"`
	Members []struct {
		Name   string    `bson:"name"`
		Health float64   `bson:"health"`
		State  string    `bson:"stateStr"`
		At     time.Time `bson:"optimeDate"`
	} `bson:"members"`
}

// behind is how much later than the primary's a member's last write may be.
const behind = 10 * time.Second

// members judges whether a majority keeps what is written.
func (d *checkup) members(ctx context.Context) finding.Finding {
	const check = "mongodb members"
	n := len(d.is.Hosts)
	switch {
	case d.is.sharded():
		return finding.Good(check, "a sharded cluster; look at its shards with sh.status()")
	case d.is.Set == "":
		return finding.Warn(check, "a server by itself: with its disk, what it stored is lost", "run a replica set of three members that hold data")
	case n < 3 || len(d.is.Arbiters) > 0:
		return finding.Warn(check, fmt.Sprintf("replica set %s has %d members that hold data and %d arbiters: one that is down stops all writes", d.is.Set, n, len(d.is.Arbiters)), "run three members that hold data, and no arbiter")
	}
	var s status
	err := d.client.Database("admin").RunCommand(ctx, bson.D{{Key: "replSetGetStatus", Value: 1}}).Decode(&s)
	if err != nil {
		return finding.Good(check, "replica set %s of %d; their state is told only to the role clusterMonitor", d.is.Set, n)
	}
	return s.judge(check, d.is.Set)
}

// judge tells of members that are away or behind.
func (s status) judge(check, set string) finding.Finding {
	var newest time.Time
	for _, m := range s.Members {
		if m.At.After(newest) {
			newest = m.At
		}
	}
	var out []string
	for _, m := range s.Members {
		switch late := newest.Sub(m.At); {
		case m.Health < 1 || m.State != "PRIMARY" && m.State != "SECONDARY":
			out = append(out, m.Name+" is "+m.State)
		case late > behind:
			out = append(out, fmt.Sprintf("%s is %s behind", m.Name, finding.Round(late)))
		}
	}
	if len(out) > 0 {
		return finding.Warn(check, "replica set "+set+": "+strings.Join(out, ", "), "look at the log of these members; one failure more may stop all writes")
	}
	return finding.Good(check, "replica set %s of %d, all in step", set, len(s.Members))
}

// majority tries whether a majority confirms writes, without writing: a linearizable read waits until a majority has
// confirmed a write of the primary's own.
func (d *checkup) majority(ctx context.Context) finding.Finding {
	const check = "mongodb majority"
	view := d.data.Client().Database(d.data.Name(), options.Database().SetReadConcern(readconcern.Linearizable()))
	began := time.Now()
	err := view.Collection(marks).FindOne(ctx, bson.D{{Key: "_id", Value: "doctor"}}).Err()
	took := time.Since(began)
	switch {
	case err == nil, errors.Is(err, mongo.ErrNoDocuments):
	case ctx.Err() != nil:
		return finding.Bad(check, "does not confirm in time", "start more than half of the members; look whether they follow the primary (rs.status())")
	default:
		return finding.Bad(check, finding.Text(explain(ctx, err)), "give the user the role readWrite on "+d.data.Name()+", and run a replica set")
	}
	found := fmt.Sprintf("confirms in %s; writes ask for majority and journal by themselves", finding.Round(took))
	if took > slowRead {
		return finding.Warn(check, found, "that is slow: look at the disks of the members and the network between")
	}
	return finding.Good(check, "%s", found)
}

// indexes compares those that are there with those that are wanted.
func (d *checkup) indexes(ctx context.Context) (found []finding.Finding) {
	const check = "mongodb indexes"
	wanted := make(map[string][]index)
	for _, x := range indexes {
		wanted[x.of] = append(wanted[x.of], x)
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		there, err := d.data.Collection(name).Indexes().ListSpecifications(ctx)
		if err != nil {
			return append(found, finding.Bad(check, "of "+name+" cannot be listed: "+finding.Text(explain(ctx, err)), "give the user the role readWrite on "+d.data.Name()))
		}
		for _, x := range wanted[name] {
			n := slices.IndexFunc(there, func(s mongo.IndexSpecification) bool { return s.Name == x.name })
			switch {
			case n < 0:
				missing = append(missing, name+"."+x.name)
			case !x.is(there[n]):
				found = append(found, finding.Bad(check, name+"."+x.name+" is not the one that is needed; services do not start",
					fmt.Sprintf("db.getCollection(%q).dropIndex(%q), then start a service, which makes it", name, x.name)))
			}
		}
	}
	switch {
	case len(missing) == len(indexes):
		return append(found, finding.Good(check, "none of %d is there yet; the first service makes them", len(indexes)))
	case len(missing) > 0:
		return append(found, finding.Warn(check, fmt.Sprintf("%d of %d are missing, such as %s", len(missing), len(indexes), missing[0]), "the next start of a service makes them, and waits for it"))
	case len(found) == 0:
		return append(found, finding.Good(check, "all %d are there", len(indexes)))
	}
	return found
}
