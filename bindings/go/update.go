package coffer

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// Update runs `change` until what it read is still so when what it wrote is written: a serializable transaction. Everything
// it reads is of one revision. If another writer was quicker, or the store asks to come back, `change` runs anew with a Tx
// anew; it must have no effect but by its Tx. If it returns an error nothing is written, and Update returns that error.
//
//	err := store.Update(ctx, func(tx *coffer.Tx) error {
//		n, err := tx.Get("counter")
//		if err != nil && !errors.Is(err, coffer.ErrNotFound) {
//			return err
//		}
//		return tx.Put("counter", increment(n.Value))
//	})
//
// An [ErrMaybeCommitted] is returned, not tried again: the change may be there. What is read and written in one Update is
// bounded by the number of operations that a transaction may have (max-txn-ops).
func (s *Store) Update(ctx context.Context, change func(*Tx) error) error {
	pause := backoff{next: time.Millisecond, max: 250 * time.Millisecond}
	for {
		tx := &Tx{ctx: ctx, store: s, writes: map[string]write{}}
		won, err := tx.attempt(change)
		if won || err != nil && !s.again(err) {
			return err
		}
		if !pause.wait(ctx.Done()) {
			return &Error{Code: ErrCanceled, Message: "the update did not happen", cause: ctx.Err()}
		}
	}
}

// again reports whether an update that failed is worth another attempt: what it read may have been compacted meanwhile.
func (s *Store) again(err error) bool {
	return !s.closing.Load() && (errors.Is(err, ErrRetryable) || errors.Is(err, ErrCompacted)) && !errors.Is(err, ErrNoSpace)
}

// A Tx is one attempt of an [Store.Update]. It must not be used after the attempt, nor by several goroutines at once.
type Tx struct {
	ctx      context.Context
	store    *Store
	revision int64 // what everything is read at; 0 before the first read
	read     []Condition
	writes   map[string]write
}

type write struct {
	value   []byte
	options []PutOption
	deleted bool
}

func (tx *Tx) attempt(change func(*Tx) error) (won bool, err error) {
	if err := change(tx); err != nil {
		return false, err
	}
	if len(tx.writes) == 0 {
		return true, nil // reads of one revision are consistent as they are
	}
	txn := tx.store.Txn().If(tx.read...)
	for _, key := range slices.Sorted(maps.Keys(tx.writes)) {
		if w := tx.writes[key]; w.deleted {
			txn.Then(OpDelete(key))
		} else {
			txn.Then(OpPut(key, w.value, w.options...))
		}
	}
	answer, err := txn.Commit(tx.ctx)
	return err == nil && answer.Succeeded, err
}

// Get reads a key: what this attempt wrote, or else what the store has. It fails with [ErrNotFound] if the key does not
// exist. Of what this attempt wrote only key and value are known.
func (tx *Tx) Get(key string) (KV, error) {
	if w, ok := tx.writes[key]; ok {
		if w.deleted {
			return KV{}, ErrNotFound
		}
		return KV{Key: key, Value: w.value}, nil
	}
	answer, err := tx.store.Read(tx.ctx, Key(key), WithRevision(tx.revision))
	if err != nil {
		return KV{}, err
	}
	tx.readAt(answer.Revision)
	if len(answer.KVs) == 0 {
		tx.read = append(tx.read, Missing(key))
		return KV{}, ErrNotFound
	}
	tx.read = append(tx.read, ModRevision(key).Equals(answer.KVs[0].ModRevision))
	return answer.KVs[0], nil
}

// Range reads a range of keys, with what this attempt wrote, in ascending order. The update depends on the range as a
// whole: neither may a key in it change nor one come. So it costs one condition, and one for each key.
func (tx *Tx) Range(keys KeyRange) iter.Seq2[KV, error] {
	return func(yield func(KV, error) bool) {
		answer, err := tx.store.Read(tx.ctx, keys, WithRevision(tx.revision))
		if err != nil {
			yield(KV{}, err)
			return
		}
		tx.readAt(answer.Revision)
		tx.read = append(tx.read, ModRevision(keys).Less(tx.revision+1))
		for _, kv := range answer.KVs {
			tx.read = append(tx.read, ModRevision(kv.Key).Equals(kv.ModRevision))
		}
		for _, kv := range tx.overlay(keys, answer.KVs) {
			if !yield(kv, nil) {
				return
			}
		}
	}
}

// overlay is what a range holds after this attempt's writes.
func (tx *Tx) overlay(keys KeyRange, stored []KV) []KV {
	kvs := slices.DeleteFunc(stored, func(kv KV) bool {
		_, written := tx.writes[kv.Key]
		return written
	})
	for key, w := range tx.writes {
		if !w.deleted && keys.contains(key) {
			kvs = append(kvs, KV{Key: key, Value: w.value})
		}
	}
	slices.SortFunc(kvs, func(a, b KV) int { return cmp.Compare(a.Key, b.Key) })
	return kvs
}

// readAt keeps the revision of the first read for all others.
func (tx *Tx) readAt(revision int64) {
	if tx.revision == 0 {
		tx.revision = revision
	}
}

// Put writes a key when the attempt succeeds. The value must not be changed until then.
func (tx *Tx) Put(key string, value []byte, options ...PutOption) error {
	if key == "" {
		return &Error{Code: ErrEmptyKey}
	}
	tx.writes[key] = write{value: value, options: options}
	return nil
}

// Delete deletes a key when the attempt succeeds.
func (tx *Tx) Delete(key string) error {
	if key == "" {
		return &Error{Code: ErrEmptyKey}
	}
	tx.writes[key] = write{deleted: true}
	return nil
}

// contains reports whether a key is in the range.
func (r KeyRange) contains(key string) bool {
	switch r.kind {
	case Key("").kind:
		return key == r.start
	case Prefix("").kind:
		return strings.HasPrefix(key, r.start)
	case Between("", "").kind:
		return key >= r.start && key < r.end
	case From("").kind:
		return key >= r.start
	}
	return true
}
