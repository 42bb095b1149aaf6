package bench

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// watch is the processes that serve: a server of our own, or all of a cluster. What they use is added up.
type watch []process

// each returns the CPU time that every process has used, with that of its children, by id.
func (w watch) each() (map[int]time.Duration, error) {
	if len(w) == 0 {
		return nil, nil // nothing is read here
	}
	all, err := readProcesses()
	if err != nil {
		return nil, err
	}
	used := make(map[int]time.Duration, len(w))
	var errs []error
	for _, p := range w {
		var is bool
		if used[p.PID], is = treeCPU(all, p.PID); !is {
			errs = append(errs, fmt.Errorf("%s (process %d) is gone", p.Name, p.PID))
		}
	}
	return used, errors.Join(errs...)
}

// cpu returns the CPU time that all have used.
func (w watch) cpu() (time.Duration, error) {
	used, err := w.each()
	return sum(used), err
}

func sum(used map[int]time.Duration) (total time.Duration) {
	for _, d := range used {
		total += d
	}
	return total
}

// memory returns the resident memory of every process in bytes, with that of its children, by id.
func (w watch) memory() (map[int]int64, error) {
	all, err := readProcesses()
	if err != nil {
		return nil, err
	}
	held := make(map[int]int64, len(w))
	for _, p := range w {
		for _, pid := range tree(all, p.PID) {
			rss, err := rssOf(pid)
			if err != nil && pid == p.PID {
				return nil, fmt.Errorf("%s: %w", p.Name, err)
			}
			held[p.PID] += rss // a child may have ended
		}
	}
	return held, nil
}

// rss returns the resident memory of all; what they share, such as the program's own code, counts for each.
func (w watch) rss() (total int64, err error) {
	held, err := w.memory()
	for _, n := range held {
		total += n
	}
	return total, err
}

// metrics returns the sums of all metrics over their labels and the processes that have any.
func (w watch) metrics() (map[string]float64, error) {
	sums := map[string]float64{}
	for _, p := range w {
		if p.Ops == "" {
			continue
		}
		body, err := fetch("http://" + p.Ops + "/metrics")
		if err == nil {
			err = addMetrics(sums, string(body))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return sums, nil
}

// settledMetrics collects garbage first, so that what is in use is what is needed.
func (w watch) settledMetrics() (map[string]float64, error) {
	for _, p := range w {
		if p.Ops == "" {
			continue
		}
		if _, err := fetch("http://" + p.Ops + "/debug/pprof/heap?gc=1"); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return w.metrics()
}

// connected is the metric that counts long connections.
const connected = "oceanchat_ws_gateway_connections"

func fetch(at string) ([]byte, error) {
	resp, err := goodHTTP.Get(at)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return body, err
}

// partCost is what messages cost the processes of one target of a cluster, or of one part such as NATS.
type partCost struct {
	Part        string  `json:"part"`
	Processes   int     `json:"processes"`
	CPU         float64 `json:"cpuUsPerMessage"`
	DeliveryCPU float64 `json:"cpuUsPerDelivery"`
	Share       float64 `json:"sharePercent"` // of the CPU of all
	RSS         int64   `json:"rssBytes"`
}

// shares adds up by part what each process has used between two moments, in the order of the processes.
func (w watch) shares(from, to map[int]time.Duration, held map[int]int64, messages int) []partCost {
	used := map[string]time.Duration{}
	var parts []partCost
	var total time.Duration
	for _, p := range w {
		name := p.part()
		i := slices.IndexFunc(parts, func(c partCost) bool { return c.Part == name })
		if i < 0 {
			i = len(parts)
			parts = append(parts, partCost{Part: name})
		}
		d := to[p.PID] - from[p.PID]
		total += d
		used[name] += d
		parts[i].Processes++
		parts[i].RSS += held[p.PID]
	}
	for i := range parts {
		d := used[parts[i].Part]
		parts[i].CPU = perUnit(d, messages)
		if total > 0 {
			parts[i].Share = 100 * float64(d) / float64(total)
		}
	}
	return parts
}
