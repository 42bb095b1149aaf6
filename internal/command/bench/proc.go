package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc's CPU times: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf returns the user and system time that a process has used. Its resolution is 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(data))
}

// running is a process at a moment.
type running struct {
	parent int
	cpu    time.Duration // with that of children that have ended
}

// readProcesses returns all processes of the machine by id.
func readProcesses() (map[int]running, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]running{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue // it has just ended
		}
		if all[pid], err = parseRunning(string(data)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tree returns a process and all that it has started, and they in turn; none if it does not run.
func tree(all map[int]running, pid int) []int {
	if _, is := all[pid]; !is {
		return nil
	}
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		for child, r := range all {
			if r.parent == found[i] && child != found[i] {
				found = append(found, child)
			}
		}
	}
	return found
}

// treeCPU returns what a tree of processes has used; false if its root does not run.
func treeCPU(all map[int]running, pid int) (total time.Duration, is bool) {
	for _, p := range tree(all, pid) {
		total += all[p].cpu
		is = true
	}
	return total, is
}

// The numbers of fields in proc(5), less the two before the name's end and counted from 0.
const (
	fieldParent = 4 - 3
	fieldUser   = 14 - 3 // then system, and both of children that were waited for
)

// parseRunning reads ppid, utime, stime, cutime and cstime.
func parseRunning(stat string) (running, error) {
	fields := statFields(stat)
	times, err := addTicks(fields, fieldUser, 4)
	if err != nil {
		return running{}, err
	}
	parent, err := strconv.Atoi(fields[fieldParent])
	if err != nil {
		return running{}, fmt.Errorf("stat: %w", err)
	}
	return running{parent, times}, nil
}

// parseStat reads utime and stime. The name of the program, in parentheses, may hold anything.
func parseStat(stat string) (time.Duration, error) {
	return addTicks(statFields(stat), fieldUser, 2)
}

func statFields(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

// addTicks adds n times.
func addTicks(fields []string, from, n int) (sum time.Duration, err error) {
	if len(fields) < from+n {
		return 0, fmt.Errorf("stat has %d fields: %.80q", len(fields), fields)
	}
	for _, f := range fields[from : from+n] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// rssOf returns the resident memory of a process in bytes.
func rssOf(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseRSS(string(data))
}

func parseRSS(status string) (int64, error) {
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("status: %w", err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("status has no VmRSS: %.80q", status)
}

// machineBusy returns the time that all cores together were busy, steal included: what other guests took is not ours.
func machineBusy() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachine(string(data))
}

func parseMachine(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("the machine's stat begins with %.80q", line)
	}
	var busy time.Duration
	for i, f := range fields[1:9] { // user nice system idle iowait irq softirq steal
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		if i != 3 && i != 4 {
			busy += time.Duration(n) * tick
		}
	}
	return busy, nil
}

// usage is what the server or the cluster, this program and the whole machine have used up to a moment.
type usage struct {
	at                      time.Time
	server, client, machine time.Duration
	each                    map[int]time.Duration // of server, by process
}

func usageOf(w watch) (usage, error) {
	u := usage{at: time.Now()}
	var err error
	if u.each, err = w.each(); err != nil {
		return u, err
	}
	u.server = sum(u.each)
	if u.client, err = cpuOf(os.Getpid()); err != nil {
		return u, err
	}
	u.machine, err = machineBusy()
	return u, err
}

// others returns the share of cores that neither the server nor this program used between two moments, in percent: on a
// quiet machine it is near 0, and figures beside a high one say little.
func (u usage) others(since usage, cores int) float64 {
	wall := u.at.Sub(since.at) * time.Duration(cores)
	if wall <= 0 {
		return 0
	}
	rest := (u.machine - since.machine) - (u.server - since.server) - (u.client - since.client)
	return 100 * max(0, float64(rest)/float64(wall))
}

// perUnit returns d/n in microseconds.
func perUnit(d time.Duration, n int) float64 {
	if n == 0 {
		return 0
	}
	return float64(d) / 1e3 / float64(n)
}
