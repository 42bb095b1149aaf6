package memory

// recent is a map that forgets what was not used lately. It holds two generations: what is put or got is in the young
// one; when that has grown to half of the bound, it becomes the old one and the old one is forgotten at once. So an
// entry survives at least as long as half of the bound of others are used, at no cost per entry: a linked list would
// take more memory than the entries. It is not safe for concurrent use.
type recent[K comparable, V any] struct {
	max        int // weight of both generations together
	weigh      func(K, V) int
	young, old map[K]V
	weight     int // of young
}

// newRecent returns an empty map; without weigh each entry weighs 1.
func newRecent[K comparable, V any](limit int, weigh func(K, V) int) *recent[K, V] {
	if weigh == nil {
		weigh = func(K, V) int { return 1 }
	}
	return &recent[K, V]{max: limit, weigh: weigh, young: make(map[K]V)}
}

// get returns the value of k and counts as a use of it.
func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		r.put(k, v)
	}
	return v, ok
}

// put stores v unless it alone weighs more than a generation.
func (r *recent[K, V]) put(k K, v V) {
	r.remove(k)
	w := r.weigh(k, v)
	half := max(r.max/2, 1)
	if w > half {
		return
	}
	if r.weight+w > half {
		r.old, r.young, r.weight = r.young, make(map[K]V), 0
	}
	r.young[k] = v
	r.weight += w
}

// remove forgets k.
func (r *recent[K, V]) remove(k K) {
	delete(r.old, k)
	if v, ok := r.young[k]; ok {
		delete(r.young, k)
		r.weight -= r.weigh(k, v)
	}
}
