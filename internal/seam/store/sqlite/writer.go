package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueLen  = 1024                  // writes that wait; more wait in their callers
	maxGroup  = 256                   // writes in one transaction
	groupTime = 20 * time.Millisecond // after which a transaction takes no further write
)

// writer owns the connection that writes. Its goroutine takes one write after the other from the queue, runs each within
// one transaction, those after the first in a savepoint of their own, and commits when no more wait: one fsync serves
// all that arrived during the one before, and a lone write waits for nobody.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // by query; goroutine's own
	convs convs                // goroutine's own
	queue chan *job
	ended chan struct{} // closed when the goroutine is gone

	mu     sync.RWMutex // held for reading while handing in a write
	closed bool         // guarded by mu
}

// job is one write.
type job struct {
	fn    func(*tx) error
	state atomic.Int32 // one of the states below
	err   error        // set before done is closed
	done  chan struct{}
}

const (
	waiting int32 = iota
	started       // fn runs or ran: the caller waits for its outcome
	left          // the caller has gone: fn never runs
)

func newWriter(dsn string) (*writer, error) {
	ctx := context.Background()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := migrate(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close(), db.Close())
	}
	w := &writer{
		db: db, conn: conn, stmts: make(map[string]*sql.Stmt), convs: newConvs(convCache),
		queue: make(chan *job, queueLen), ended: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// write runs fn within a transaction and returns when its effect is durable. An error of fn is returned as it is and
// undoes fn's effect only. If ctx ends before fn has started, fn never runs; afterwards write waits for the outcome. fn
// runs in the writer's goroutine: it must not wait for another write.
func (w *writer) write(ctx context.Context, fn func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{fn: fn, done: make(chan struct{})}
	if err := w.enqueue(ctx, j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, left) {
			return ctx.Err()
		}
		<-j.done
		return j.err
	}
}

func (w *writer) enqueue(ctx context.Context, j *job) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.queue <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close lets what was handed in finish, then ends the goroutine and the connection.
func (w *writer) close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		<-w.ended
		return nil
	}
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.ended
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

func (w *writer) run() {
	defer close(w.ended)
	for j := range w.queue {
		w.group(j)
	}
}

// group runs first and the writes that wait behind it as one transaction.
func (w *writer) group(first *job) {
	g := group{tx: tx{w: w}}
	until := time.Now().Add(groupTime)
	for j := first; j != nil; j = w.next(&g, until) {
		if j.state.CompareAndSwap(waiting, started) {
			g.add(j)
		}
	}
	g.commit()
}

// next returns another write that waits already, or nil.
func (w *writer) next(g *group, until time.Time) *job {
	if len(g.jobs) >= maxGroup || time.Now().After(until) {
		return nil
	}
	select {
	case j := <-w.queue: // nil when closed and empty
		return j
	default:
		return nil
	}
}

// group is a transaction that several writes share.
type group struct {
	tx     tx
	jobs   []*job    // succeeded so far; the transaction is open if there is any
	failed []verdict // failed, and judged on what the writes before them did
}

// verdict is the outcome of a write that failed on its own.
type verdict struct {
	job *job
	err error
}

// add runs a write. A write that fails is undone alone. If it was the first, it is answered at once; behind others it is
// answered after the commit, because a conflict with what is not committed yet is one only if that is.
func (g *group) add(j *job) {
	begin, undo := "BEGIN IMMEDIATE", "ROLLBACK"
	if len(g.jobs) > 0 {
		begin, undo = "SAVEPOINT one", "ROLLBACK TO one"
	}
	if _, err := g.tx.exec(begin); err != nil {
		g.fail(j, err)
		return
	}
	err := g.tx.run(j.fn)
	if err == nil && len(g.jobs) > 0 {
		_, err = g.tx.exec("RELEASE one")
	}
	if err == nil {
		g.jobs = append(g.jobs, j)
		g.tx.w.convs.keep()
		return
	}
	g.tx.w.convs.drop()
	// A full disk or an I/O error may have ended the whole transaction: then undoing fails, and so do the others.
	_, lost := g.tx.exec(undo)
	if lost == nil && len(g.jobs) > 0 {
		if _, lost = g.tx.exec("RELEASE one"); lost == nil {
			g.failed = append(g.failed, verdict{j, explain(err)})
			return
		}
	}
	j.finish(explain(err))
	if lost != nil {
		g.abort(err)
	}
}

// fail answers a write that could not begin; if others share the transaction they go on.
func (g *group) fail(j *job, err error) {
	j.finish(explain(err))
	if len(g.jobs) == 0 {
		_, _ = g.tx.exec("ROLLBACK") // none is open, unless the last one is stuck
	}
}

// commit makes the group durable and answers its writes.
func (g *group) commit() {
	if len(g.jobs) == 0 {
		return
	}
	if _, err := g.tx.exec("COMMIT"); err != nil {
		g.abort(err)
		return
	}
	for _, j := range g.jobs {
		j.finish(nil)
	}
	for _, v := range g.failed {
		v.job.finish(v.err)
	}
}

// abort undoes all of the group because of cause, which for most of its writes is another's: what that one's caller
// tells apart, such as a conflict, must not reach them. Numbers of conversations are forgotten, to be on the safe side.
func (g *group) abort(cause error) {
	_, _ = g.tx.exec("ROLLBACK") // fails if SQLite has done so itself
	g.tx.w.convs.clear()
	err := fmt.Errorf("sqlite: commit of %d writes: %w", len(g.jobs), alien(cause))
	for _, j := range g.jobs {
		j.finish(err)
	}
	for _, v := range g.failed {
		v.job.finish(err)
	}
	g.jobs, g.failed = nil, nil
}

func (j *job) finish(err error) {
	j.err = err
	close(j.done)
}

// tx is what a write sees: the open transaction, with statements that stay prepared.
type tx struct{ w *writer }

// run calls fn. Its caller gets a panic as an error: it must not take the other users' writes along.
func (t *tx) run(fn func(*tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sqlite: the change panicked: %v", p)
		}
	}()
	return fn(t)
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	s, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// rows implements querier. It ignores ctx: an interrupt would end the whole transaction.
func (t *tx) rows(_ context.Context, query string, args []any) (*sql.Rows, func(), error) {
	s, err := t.stmt(query)
	if err != nil {
		return nil, nil, err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	return rows, func() {}, err
}

func (t *tx) stmt(query string) (*sql.Stmt, error) {
	if s, ok := t.w.stmts[query]; ok {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(context.Background(), query)
	if err == nil {
		t.w.stmts[query] = s
	}
	return s, err
}
