package bench

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	storeCalls  = "oceanchat_store_calls_total"
	hellos      = "oceanchat_presence_hellos_total"
	tellTheMost = 4 // stores' methods that a table names
)

// databaseCost is what came to the database while connections came back: all of it, also what was there anyway.
type databaseCost struct {
	Connects int                `json:"connects"`        // that presence registered meanwhile
	Calls    float64            `json:"callsPerConnect"` // of the services to their stores
	By       map[string]float64 `json:"callsPerConnectBy"`
}

// databaseCount is what the servers have counted up to a moment. nil: it is not known.
type databaseCount map[string]float64

var storeLabels = regexp.MustCompile(`\b(store|method)="([^"]*)"`)

// database reads what the processes that answer have counted; a gateway that is down has nothing to say of it.
func (w watch) database() databaseCount {
	sums := databaseCount{}
	for _, p := range w {
		if p.Ops == "" {
			continue
		}
		if body, err := fetch("http://" + p.Ops + "/metrics"); err == nil {
			sums.add(string(body))
		}
	}
	if sums[hellos] == 0 {
		return nil // who counts is not among them
	}
	return sums
}

// add adds the registrations, and the calls of each method of a store, of one process.
func (d databaseCount) add(text string) {
	_ = eachMetric(text, func(name, labels string, v float64) { // what cannot be read is not counted
		switch name {
		case hellos:
			d[hellos] += v
		case storeCalls:
			of := map[string]string{}
			for _, m := range storeLabels.FindAllStringSubmatch(labels, -1) {
				of[m[1]] = m[2]
			}
			d[of["store"]+"."+of["method"]] += v
		}
	})
}

// since returns what was counted after an earlier moment; nil if a process began anew meanwhile, or nobody came.
func (d databaseCount) since(before databaseCount) *databaseCost {
	connects := d[hellos] - before[hellos]
	if d == nil || before == nil || connects <= 0 {
		return nil
	}
	cost := &databaseCost{Connects: int(connects), By: map[string]float64{}}
	for name, n := range d {
		n -= before[name]
		switch {
		case n < 0:
			return nil
		case n > 0 && name != hellos:
			cost.Calls += n / connects
			cost.By[name] = n / connects
		}
	}
	return cost
}

// String is what a table tells: the sum, and who asks most.
func (c *databaseCost) String() string {
	if c == nil {
		return none
	}
	names := slices.SortedFunc(maps.Keys(c.By), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.By[b], c.By[a]), cmp.Compare(a, b))
	})
	var most []string
	for _, name := range names[:min(tellTheMost, len(names))] {
		most = append(most, fmt.Sprintf("%s %.2f", name, c.By[name]))
	}
	return fmt.Sprintf("%.2f (%s)", c.Calls, strings.Join(most, ", "))
}
