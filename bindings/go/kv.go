package coffer

// #include "native.h"
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// A KV is a key and its value. Both are binary.
type KV struct {
	Key   string
	Value []byte
	// CreateRevision is the revision at which the key was created; 0 of one that was deleted.
	CreateRevision int64
	// ModRevision is the revision at which it was last written.
	ModRevision int64
	// Version is how often it was written since it was created; 0 of one that was deleted.
	Version int64
	// Lease is the lease that it ends with; 0 for none.
	Lease LeaseID
}

// A Header says who answered, and when.
type Header struct {
	ClusterID uint64
	MemberID  uint64
	Term      uint64
	// Revision is the store's revision at the answer.
	Revision int64
}

// An Answer is what a call on keys comes to. What a call does not answer is zero.
type Answer struct {
	Header
	// KVs are the pairs that were read, or, if they were asked for, those before a change.
	KVs []KV
	// Count is how many keys the range has, also those that a limit left out; or how many were deleted.
	Count int64
	// More reports whether a limit left pairs out.
	More bool
	// Succeeded reports whether all conditions of a transaction held.
	Succeeded bool
	// Answers are those to the operations of a transaction that ran, in order.
	Answers []Answer
}

// A KeyRange is some keys: [Key], [Prefix], [Between], [From] or [All].
type KeyRange struct {
	kind       C.uint32_t
	start, end string
}

// Key is one key.
func Key(key string) KeyRange { return KeyRange{C.COFFER_RANGE_KEY, key, ""} }

// Prefix is every key that begins with `prefix`. An empty one means every key.
func Prefix(prefix string) KeyRange { return KeyRange{C.COFFER_RANGE_PREFIX, prefix, ""} }

// Between is the keys from `start` on, below `end`.
func Between(start, end string) KeyRange { return KeyRange{C.COFFER_RANGE_BETWEEN, start, end} }

// From is the keys from `start` on.
func From(start string) KeyRange { return KeyRange{C.COFFER_RANGE_FROM, start, ""} }

// All is every key.
func All() KeyRange { return KeyRange{C.COFFER_RANGE_ALL, "", ""} }

// KeyOrRange is what names keys: a string names one, a KeyRange some.
type KeyOrRange interface{ string | KeyRange }

func rangeOf[K KeyOrRange](keys K) KeyRange {
	if r, ok := any(keys).(KeyRange); ok {
		return r
	}
	return Key(any(keys).(string))
}

// A ReadOption says how keys are read.
type ReadOption interface{ applyRead(*C.go_read) }

type readOption func(*C.go_read)

func (f readOption) applyRead(read *C.go_read) { f(read) }

// Sort is what pairs are sorted by.
type Sort uint32

// What pairs are sorted by.
const (
	SortKey            Sort = C.COFFER_SORT_KEY
	SortVersion        Sort = C.COFFER_SORT_VERSION
	SortCreateRevision Sort = C.COFFER_SORT_CREATE
	SortModRevision    Sort = C.COFFER_SORT_MOD
	SortValue          Sort = C.COFFER_SORT_VALUE
)

// WithRevision reads as of a revision. For a watch it is the revision whose changes come first.
func WithRevision(revision int64) RevisionOption { return RevisionOption(revision) }

// A RevisionOption applies to reads and to watches.
type RevisionOption int64

func (o RevisionOption) applyRead(read *C.go_read) { read.revision = C.int64_t(o) }

// WithLimit reads at most so many keys.
func WithLimit(keys int64) ReadOption {
	return readOption(func(read *C.go_read) { read.limit = C.int64_t(keys) })
}

// WithSort reads in ascending order of something else than the key.
func WithSort(by Sort) ReadOption {
	return readOption(func(read *C.go_read) { read.sort, read.order = C.uint32_t(by), C.COFFER_ORDER_ASCEND })
}

// WithSortDescending reads in descending order.
func WithSortDescending(by Sort) ReadOption {
	return readOption(func(read *C.go_read) { read.sort, read.order = C.uint32_t(by), C.COFFER_ORDER_DESCEND })
}

// WithSerializable lets one member answer from what it has, which may be old.
func WithSerializable() ReadOption { return readFlag(C.COFFER_READ_SERIALIZABLE) }

// WithKeysOnly leaves values and leases out.
func WithKeysOnly() ReadOption { return readFlag(C.COFFER_READ_KEYS_ONLY) }

// WithCountOnly only counts.
func WithCountOnly() ReadOption { return readFlag(C.COFFER_READ_COUNT_ONLY) }

func readFlag(flag C.uint32_t) ReadOption {
	return readOption(func(read *C.go_read) { read.flags |= flag })
}

// WithModRevisions reads only keys that were last written at these revisions, both included; 0 for no bound.
func WithModRevisions(min, max int64) ReadOption {
	return readOption(func(read *C.go_read) {
		read.min_mod_revision, read.max_mod_revision = C.int64_t(min), C.int64_t(max)
	})
}

// WithCreateRevisions reads only keys that were created at these revisions, both included; 0 for no bound.
func WithCreateRevisions(min, max int64) ReadOption {
	return readOption(func(read *C.go_read) {
		read.min_create_revision, read.max_create_revision = C.int64_t(min), C.int64_t(max)
	})
}

func readOf(options []ReadOption) C.go_read {
	if len(options) == 0 {
		return C.go_read{} // spares an allocation
	}
	var read C.go_read
	for _, o := range options {
		o.applyRead(&read)
	}
	return read
}

// A PutOption says how a key is written.
type PutOption interface{ applyPut(*putOptions) }

type putOptions struct {
	flags C.uint32_t
	lease C.int64_t
}

type putOption func(*putOptions)

func (f putOption) applyPut(put *putOptions) { f(put) }

// WithLease has the key end with a lease.
func WithLease(lease LeaseID) PutOption {
	return putOption(func(put *putOptions) { put.lease = C.int64_t(lease) })
}

// WithKeepValue keeps the value that the key has; the given one must be empty.
func WithKeepValue() PutOption {
	return putOption(func(put *putOptions) { put.flags |= C.COFFER_PUT_KEEP_VALUE })
}

// WithKeepLease keeps the lease that the key has.
func WithKeepLease() PutOption {
	return putOption(func(put *putOptions) { put.flags |= C.COFFER_PUT_KEEP_LEASE })
}

func putOf(options []PutOption) putOptions {
	var put putOptions
	for _, o := range options {
		o.applyPut(&put)
	}
	return put
}

// A DeleteOption says how keys are deleted.
type DeleteOption interface{ applyDelete(*C.uint32_t) }

// WithPrevious answers with the pairs before a put or a deletion, and has a watch deliver them.
func WithPrevious() PreviousOption { return PreviousOption{} }

// A PreviousOption applies to puts, deletions and watches.
type PreviousOption struct{}

func (PreviousOption) applyPut(put *putOptions)      { put.flags |= C.COFFER_PUT_PREVIOUS }
func (PreviousOption) applyDelete(flags *C.uint32_t) { *flags |= C.COFFER_DELETE_PREVIOUS }

func deleteOf(options []DeleteOption) C.uint32_t {
	var flags C.uint32_t
	for _, o := range options {
		o.applyDelete(&flags)
	}
	return flags
}

// Put writes a key. It is durable on a quorum when Put returns.
func (s *Store) Put(ctx context.Context, key string, value []byte, options ...PutOption) (Answer, error) {
	put := putOf(options)
	return s.answer(ctx, func(call C.go_call) C.go_outcome {
		return C.go_put(call, text(key), length(key), data(value), C.size_t(len(value)), put.flags, put.lease)
	})
}

// Get reads one key. It fails with [ErrNotFound] if the key does not exist.
func (s *Store) Get(ctx context.Context, key string, options ...ReadOption) (KV, error) {
	// A read of an embedded store waits for nothing but the processor and, rarely, the disk.
	if s.embedded && s.reads.tryEnter() {
		defer s.reads.leave()
		return s.getNow(ctx, key, options)
	}
	var found KV
	read := readOf(options)
	err := s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_get(call, text(key), length(key), read)
	}, func(result *C.coffer_result) {
		found = firstOf(result, key)
	})
	return found, err
}

// getNow reads a key of an embedded store on this goroutine's thread.
func (s *Store) getNow(ctx context.Context, key string, options []ReadOption) (KV, error) {
	if err := ctx.Err(); err != nil {
		return KV{}, &Error{Code: ErrCanceled, Message: "not begun", cause: err}
	}
	var timeout C.int64_t
	if deadline, limited := ctx.Deadline(); limited {
		timeout = max(1, C.int64_t(time.Until(deadline).Milliseconds()))
	}
	var withOptions C.int32_t
	if len(options) > 0 {
		withOptions = 1
	}
	got := C.go_get_now(s.id, timeout, text(key), length(key), withOptions, readOf(options))
	defer freeResult(&got.result)
	if got.status != C.COFFER_OK {
		err := s.explain(errorOf(got.status, got.error))
		if Code(got.status) == ErrTimeout && timeout > 0 {
			err = endedBy(err, context.DeadlineExceeded)
		}
		return KV{}, err
	}
	return firstOf(&got.result, key), nil
}

// firstOf is the one pair of a result, whose key is known.
func firstOf(result *C.coffer_result, key string) KV {
	if result.kv_count == 0 {
		return KV{Key: key}
	}
	return kvOf(result.kvs, key)
}

// Read reads a range of keys in one answer. For large ranges see [Store.Range].
func (s *Store) Read(ctx context.Context, keys KeyRange, options ...ReadOption) (Answer, error) {
	read := readOf(options)
	return s.answer(ctx, func(call C.go_call) C.go_outcome {
		return C.go_range(call, keys.kind, text(keys.start), length(keys.start), text(keys.end), length(keys.end), read)
	})
}

// Delete deletes a key. How many were deleted is in the answer's Count.
func (s *Store) Delete(ctx context.Context, key string, options ...DeleteOption) (Answer, error) {
	return s.DeleteRange(ctx, Key(key), options...)
}

// DeleteRange deletes a range of keys, in one revision. How many were deleted is in the answer's Count.
func (s *Store) DeleteRange(ctx context.Context, keys KeyRange, options ...DeleteOption) (Answer, error) {
	flags := deleteOf(options)
	return s.answer(ctx, func(call C.go_call) C.go_outcome {
		return C.go_delete(call, keys.kind, text(keys.start), length(keys.start), text(keys.end), length(keys.end), flags)
	})
}

// answer makes a call with the queue and takes its answer over.
func (s *Store) answer(ctx context.Context, submit func(C.go_call) C.go_outcome) (Answer, error) {
	var answer Answer
	err := s.ask(ctx, submit, func(result *C.coffer_result) { answer = answerOf(result) })
	return answer, err
}

func headerOf(result *C.coffer_result) Header {
	return Header{
		ClusterID: uint64(result.cluster_id),
		MemberID:  uint64(result.member_id),
		Term:      uint64(result.raft_term),
		Revision:  int64(result.revision),
	}
}

func answerOf(result *C.coffer_result) Answer {
	answer := Answer{
		Header:    headerOf(result),
		Count:     int64(result.count),
		More:      result.flags&C.COFFER_RESULT_MORE != 0,
		Succeeded: result.flags&C.COFFER_RESULT_SUCCEEDED != 0,
	}
	if n := int(result.kv_count); n > 0 {
		answer.KVs = make([]KV, n)
		for i := range answer.KVs {
			answer.KVs[i] = pairOf(&unsafe.Slice(result.kvs, n)[i])
		}
	}
	if n := int(result.part_count); n > 0 {
		answer.Answers = make([]Answer, n)
		for i := range answer.Answers {
			answer.Answers[i] = answerOf(&unsafe.Slice(result.parts, n)[i])
		}
	}
	return answer
}

func pairOf(kv *C.coffer_kv) KV {
	return kvOf(kv, string(bytesOf(kv.key)))
}

func kvOf(kv *C.coffer_kv, key string) KV {
	return KV{
		Key:            key,
		Value:          append([]byte{}, bytesOf(kv.value)...),
		CreateRevision: int64(kv.create_revision),
		ModRevision:    int64(kv.mod_revision),
		Version:        int64(kv.version),
		Lease:          LeaseID(kv.lease),
	}
}

// bytesOf are the library's bytes, where they are: they die with their result.
func bytesOf(bytes C.coffer_bytes) []byte {
	if bytes.len == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(bytes.data)), int(bytes.len))
}

// text, length and data lend Go's bytes for one call.

func text(s string) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.StringData(s))) }
func length(s string) C.size_t { return C.size_t(len(s)) }
func data(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }
