package bench

import (
	"fmt"
	"slices"
	"time"
)

// percentiles are nearest-rank percentiles: each is a value that was measured, none is interpolated.
type percentiles struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50Ns"`
	P99   time.Duration `json:"p99Ns"`
	P999  time.Duration `json:"p999Ns"`
	Max   time.Duration `json:"maxNs"`
}

// percentilesOf sorts values in place. Of no values all percentiles are 0.
func percentilesOf(values []time.Duration) percentiles {
	if len(values) == 0 {
		return percentiles{}
	}
	slices.Sort(values)
	return percentiles{
		Count: len(values),
		P50:   rank(values, 500), P99: rank(values, 990), P999: rank(values, 999),
		Max: values[len(values)-1],
	}
}

// rank returns the smallest value that at least perMille of a thousand are not above. sorted is not empty.
func rank(sorted []time.Duration, perMille int) time.Duration {
	n := (len(sorted)*perMille + 999) / 1000
	return sorted[max(n, 1)-1]
}

// ms returns d in milliseconds with two digits, as the tables show it.
func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// none is what the tables show for what was not measured: a 0 would be a figure.
const none = "–"

func (p percentiles) two() string {
	if p.Count == 0 {
		return none
	}
	return ms(p.P50) + " / " + ms(p.P99)
}

func (p percentiles) three() string {
	if p.Count == 0 {
		return none
	}
	return p.two() + " / " + ms(p.P999)
}

// median returns the middle of values, which it sorts; 0 for none.
func median(values []time.Duration) time.Duration { return percentilesOf(values).P50 }
