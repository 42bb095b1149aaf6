// Package mongo keeps everything of package store in MongoDB: the cluster side of the seam.
//
// It owns one database of a replica set or a sharded cluster, its collections and their indexes. It knows no rule of any
// service: what a change means is decided above it.
//
// Invariants: a write that returned nil is on the disks of a majority (w: majority, j: true); what a read sees cannot be
// undone by a fail-over any more (readConcern majority, on the primary; linearizable where the seam promises that nothing
// is missed). No transactions: each change is one of
//
//   - one document, written by one command, with a compare in its filter where others may change it too;
//   - a document that is read, changed and put back if its version is still the same (edit);
//   - several documents that only go forward, written again without harm, and then one document that makes them count
//     (Log.Store: the mark; Groups.Commit: the group; PushTokens.Put: the token).
//
// So a crash between two writes leaves nothing that a repetition does not complete. What must change together lies in one
// document: both sides of a pair of users, all sessions of a user, the events of a change with what they tell of, and an
// epoch that is the sum of what the marks say. docs/reference/mongodb.md has the argument for each operation. Rejected:
// weaker writes before the last one of a batch, which a fail-over between the two would lose; reads of concern "local"
// before a compare-and-set, which could compare with what was undone.
//
// It uses nothing that MongoDB has only with an extra (transactions, change streams, text search), nor anything that the
// stand-in of the tests cannot do, but for indexes that make reads fast.
package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

const (
	defaultTimeout  = 10 * time.Second
	defaultDatabase = "oceanchat"
	// openTimeout bounds Open, which waits for indexes that are being built.
	openTimeout = 10 * time.Minute
)

// Config says which database to use.
type Config struct {
	// URI is a connection string, mongodb:// or mongodb+srv://, with credentials, TLS and the name of the replica set. Its
	// path names the database, "oceanchat" if it has none. What it says of read and write concern is not followed.
	URI string
	// Timeout bounds each call, fail-over included; 0: 10 s. An earlier deadline of the caller counts.
	Timeout time.Duration

	tune func(*options.ClientOptions) // by tests only
}

// DB is an open database. Its methods return the parts of the seam, each for its owner; all share the connections and are
// safe for concurrent use.
type DB struct {
	client  *mongo.Client
	data    *mongo.Database // majority
	strict  *mongo.Database // linearizable
	timeout time.Duration
	log     *slog.Logger
	clock   clock
}

// Open connects to the database, checks that the server can keep what this package promises, and makes the indexes that
// are missing, for which it waits. An index of the same name that differs is an error: an operator has to drop it. Close
// the DB when done.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*DB, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	cs, err := connstring.ParseAndValidate(cfg.URI)
	if err != nil { // the text of the error may hold the password
		return nil, errors.New("open MongoDB: the connection string is not valid")
	}
	db := &DB{timeout: cfg.Timeout, log: log}
	if db.timeout <= 0 {
		db.timeout = defaultTimeout
	}
	o := options.Client().ApplyURI(cfg.URI).SetAppName("oceanchat").SetTimeout(db.timeout).SetRetryWrites(true).
		SetRetryReads(true).SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority())
	if cs.ServerSelectionTimeout == 0 { // so that a server that is not there is told as such, not as an ended context
		o.SetServerSelectionTimeout(db.timeout * 9 / 10)
	}
	durable := true
	o.SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &durable})
	if cfg.tune != nil {
		cfg.tune(o)
	}
	if db.client, err = mongo.Connect(o); err != nil {
		return nil, fmt.Errorf("open MongoDB: %w", err)
	}
	name := defaultDatabase
	if cs.Database != "" {
		name = cs.Database
	}
	db.data = db.client.Database(name)
	db.strict = db.client.Database(name, options.Database().SetReadConcern(readconcern.Linearizable()))
	if err := db.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open MongoDB: %w", errors.Join(explain(ctx, err), db.Close()))
	}
	return db, nil
}

func (db *DB) prepare(ctx context.Context) error {
	if err := db.checkServer(ctx); err != nil {
		return err
	}
	return db.makeIndexes(ctx)
}

// Ping says whether the database can be read, as a majority has it.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := db.bound(ctx)
	defer cancel()
	return explain(ctx, db.client.Ping(ctx, readpref.Primary()))
}

// Close ends all connections. Calls must have ended.
func (db *DB) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), db.timeout)
	defer cancel()
	return db.client.Disconnect(ctx)
}

// bound gives a call its deadline.
func (db *DB) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, db.timeout)
}
