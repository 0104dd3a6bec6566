package coffer

// #include "native.h"
import "C"

import "context"

// A Txn is a transaction that is being put together: if all conditions hold its Then operations run, else its Else
// operations. It can be committed more than once, and serves one goroutine at a time.
//
//	answer, err := store.Txn().
//		If(coffer.CreateRevision("lock").Equals(0)).
//		Then(coffer.OpPut("lock", []byte("me"))).
//		Else(coffer.OpGet("lock")).
//		Commit(ctx)
type Txn struct {
	store      *Store
	conditions []Condition
	branches   [2][]Op
}

// A Condition is one of a transaction's: made by [Version], [CreateRevision], [ModRevision], [LeaseOf], [Value], [Exists]
// and [Missing]. Of a range of keys it must hold for every one that exists.
type Condition struct {
	keys     KeyRange
	target   C.uint32_t
	relation C.uint32_t
	number   int64
	value    []byte
}

// A Number is what a condition compares with a number.
type Number struct {
	keys   KeyRange
	target C.uint32_t
}

// Version is how often a key was written since it was created; 0 if it does not exist.
func Version[K KeyOrRange](keys K) Number { return Number{rangeOf(keys), C.COFFER_COMPARE_VERSION} }

// CreateRevision is the revision at which a key was created; 0 if it does not exist.
func CreateRevision[K KeyOrRange](keys K) Number {
	return Number{rangeOf(keys), C.COFFER_COMPARE_CREATE}
}

// ModRevision is the revision at which a key was last written; 0 if it does not exist.
func ModRevision[K KeyOrRange](keys K) Number { return Number{rangeOf(keys), C.COFFER_COMPARE_MOD} }

// LeaseOf is the lease of a key; 0 if it has none or does not exist.
func LeaseOf[K KeyOrRange](keys K) Number { return Number{rangeOf(keys), C.COFFER_COMPARE_LEASE} }

// Exists holds if the key does.
func Exists(key string) Condition { return CreateRevision(key).NotEquals(0) }

// Missing holds if the key does not exist.
func Missing(key string) Condition { return CreateRevision(key).Equals(0) }

// Equals holds if it is `number`.
func (n Number) Equals(number int64) Condition { return n.is(C.COFFER_IS_EQUAL, number) }

// NotEquals holds if it is not `number`.
func (n Number) NotEquals(number int64) Condition { return n.is(C.COFFER_IS_NOT_EQUAL, number) }

// Greater holds if it is greater than `number`.
func (n Number) Greater(number int64) Condition { return n.is(C.COFFER_IS_GREATER, number) }

// Less holds if it is less than `number`.
func (n Number) Less(number int64) Condition { return n.is(C.COFFER_IS_LESS, number) }

func (n Number) is(relation C.uint32_t, number int64) Condition {
	return Condition{keys: n.keys, target: n.target, relation: relation, number: number}
}

// A Content is what a condition compares with bytes.
type Content struct{ keys KeyRange }

// Value is the value of a key, which must exist.
func Value[K KeyOrRange](keys K) Content { return Content{rangeOf(keys)} }

// Equals holds if it is `value`.
func (c Content) Equals(value []byte) Condition { return c.is(C.COFFER_IS_EQUAL, value) }

// NotEquals holds if it is not `value`.
func (c Content) NotEquals(value []byte) Condition { return c.is(C.COFFER_IS_NOT_EQUAL, value) }

// Greater holds if it is greater than `value`, as bytes are.
func (c Content) Greater(value []byte) Condition { return c.is(C.COFFER_IS_GREATER, value) }

// Less holds if it is less than `value`, as bytes are.
func (c Content) Less(value []byte) Condition { return c.is(C.COFFER_IS_LESS, value) }

func (c Content) is(relation C.uint32_t, value []byte) Condition {
	return Condition{keys: c.keys, target: C.COFFER_COMPARE_VALUE, relation: relation, value: value}
}

// An Op is an operation of a transaction: made by [OpPut], [OpGet], [OpDelete] and [OpTxn].
type Op struct {
	add func(txn C.uint64_t, branch C.uint32_t) C.go_outcome
	txn *Txn // of OpTxn instead
}

// OpPut writes a key, as [Store.Put].
func OpPut(key string, value []byte, options ...PutOption) Op {
	put := putOf(options)
	return Op{add: func(txn C.uint64_t, branch C.uint32_t) C.go_outcome {
		return C.go_txn_put(txn, branch,
			text(key), length(key), data(value), C.size_t(len(value)), put.flags, put.lease)
	}}
}

// OpGet reads a key or a range, as [Store.Read]. It sees what operations before it did.
func OpGet[K KeyOrRange](keys K, options ...ReadOption) Op {
	r, read := rangeOf(keys), readOf(options)
	return Op{add: func(txn C.uint64_t, branch C.uint32_t) C.go_outcome {
		return C.go_txn_range(txn, branch, r.kind, text(r.start), length(r.start), text(r.end), length(r.end), read)
	}}
}

// OpDelete deletes a key or a range, as [Store.DeleteRange].
func OpDelete[K KeyOrRange](keys K, options ...DeleteOption) Op {
	r, flags := rangeOf(keys), deleteOf(options)
	return Op{add: func(txn C.uint64_t, branch C.uint32_t) C.go_outcome {
		return C.go_txn_delete(txn, branch, r.kind, text(r.start), length(r.start), text(r.end), length(r.end), flags)
	}}
}

// OpTxn runs another transaction, whose conditions look at the store as it was before the outermost one.
func OpTxn(inner *Txn) Op { return Op{txn: inner} }

// Txn begins a transaction without conditions and operations.
func (s *Store) Txn() *Txn { return &Txn{store: s} }

// If adds conditions.
func (t *Txn) If(conditions ...Condition) *Txn {
	t.conditions = append(t.conditions, conditions...)
	return t
}

// Then adds operations that run if all conditions hold.
func (t *Txn) Then(ops ...Op) *Txn {
	t.branches[C.COFFER_THEN] = append(t.branches[C.COFFER_THEN], ops...)
	return t
}

// Else adds operations that run if a condition does not hold.
func (t *Txn) Else(ops ...Op) *Txn {
	t.branches[C.COFFER_ELSE] = append(t.branches[C.COFFER_ELSE], ops...)
	return t
}

// Commit runs the transaction. All of its changes are one revision; if it fails none was made, unless the error is
// [ErrMaybeCommitted]. That conditions did not hold is no failure: Succeeded of the answer says so.
func (t *Txn) Commit(ctx context.Context) (Answer, error) {
	native, err := t.native()
	if err != nil {
		return Answer{}, err
	}
	defer C.go_txn_close(native)
	return t.store.answer(ctx, func(call C.go_call) C.go_outcome {
		return C.go_txn_commit(call, native)
	})
}

// native makes the library's transaction, which the caller closes.
func (t *Txn) native() (C.uint64_t, error) {
	made := C.go_txn_new()
	if err := errorOf(made.status, made.error); err != nil {
		return 0, err
	}
	if err := t.fill(made.id); err != nil {
		C.go_txn_close(made.id)
		return 0, err
	}
	return made.id, nil
}

func (t *Txn) fill(native C.uint64_t) error {
	for _, c := range t.conditions {
		k := c.keys
		added := C.go_txn_compare(native, k.kind, text(k.start), length(k.start), text(k.end), length(k.end),
			c.target, c.relation, C.int64_t(c.number), data(c.value), C.size_t(len(c.value)))
		if err := errorOf(added.status, added.error); err != nil {
			return err
		}
	}
	for branch, ops := range t.branches {
		for _, op := range ops {
			if err := op.addTo(native, C.uint32_t(branch)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (op Op) addTo(native C.uint64_t, branch C.uint32_t) error {
	if op.txn == nil {
		added := op.add(native, branch)
		return errorOf(added.status, added.error)
	}
	inner, err := op.txn.native()
	if err != nil {
		return err
	}
	added := C.go_txn_nest(native, branch, inner)
	if err := errorOf(added.status, added.error); err != nil {
		C.go_txn_close(inner)
		return err
	}
	return nil
}
