package coffer

// #include "native.h"
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// A Snapshot is what a snapshot file holds, or what was made of it.
type Snapshot struct {
	Sealed bool
	// ClusterID and MemberID are of whom it was taken, or who was founded.
	ClusterID, MemberID uint64
	// Revision is the one that it holds all of, CompactRevision the oldest in it.
	Revision, CompactRevision int64
	// Created is when it was taken; zero of a restored store.
	Created time.Time
	// Bytes is its size.
	Bytes uint64
	// Records and Leases are how many it holds; 0 of one that was saved just now.
	Records, Leases uint64
	// Keys and Hash are those of a restored store: how many it has, and its hash, as [Store.Hash] tells it.
	Keys uint64
	Hash uint32
}

func snapshotOf(result *C.coffer_result) Snapshot {
	info := result.snapshot
	if info == nil {
		return Snapshot{}
	}
	snapshot := Snapshot{
		Sealed:          info.flags&C.COFFER_SNAPSHOT_SEALED != 0,
		ClusterID:       uint64(info.cluster_id),
		MemberID:        uint64(info.member_id),
		Revision:        int64(info.revision),
		CompactRevision: int64(info.compact_revision),
		Bytes:           uint64(info.bytes),
		Records:         uint64(info.records),
		Leases:          uint64(info.leases),
		Keys:            uint64(info.keys),
		Hash:            uint32(info.hash),
	}
	if info.created_s != 0 {
		snapshot.Created = time.Unix(int64(info.created_s), 0)
	}
	return snapshot
}

// SaveSnapshot saves all of the store, at one revision, whatever is written meanwhile, to a new file that only its owner may
// read. It is sealed as the store is, and opens with the store's keys. Under the path is a whole snapshot or nothing. Without
// a deadline in the context it takes as long as it takes.
func (s *Store) SaveSnapshot(ctx context.Context, path string) (Snapshot, error) {
	native, err := nativeString(path)
	if err != nil {
		return Snapshot{}, err
	}
	defer C.free(unsafe.Pointer(native))
	var saved Snapshot
	err = s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_snapshot_save(call, native)
	}, func(result *C.coffer_result) {
		saved = snapshotOf(result)
	})
	return saved, err
}

// ReadSnapshot reads all of a snapshot file, and tells what it holds if it is whole. The options say what opens it, if it
// is sealed.
func ReadSnapshot(ctx context.Context, path string, options ...Option) (Snapshot, error) {
	var read Snapshot
	err := onFile(ctx, path, options, func(path *C.char, o nativeOptions) C.go_answer {
		return C.go_snapshot_status(path, o.at, o.count)
	}, func(result *C.coffer_result) {
		read = snapshotOf(result)
	})
	return read, err
}

// RestoreSnapshot makes a new store in the directory `dir`, the only member of a new cluster, from a snapshot file. The
// options say what opens the snapshot and, if nothing else is said, what seals the store: the same. The options
// new-key-file, new-passphrase-file, new-command, new-kms-socket and new-unsealed (true) seal it otherwise. Under `dir` is a
// whole store or nothing.
func RestoreSnapshot(ctx context.Context, path, dir string, options ...Option) (Snapshot, error) {
	nativeDir, err := nativeString(dir)
	if err != nil {
		return Snapshot{}, err
	}
	defer C.free(unsafe.Pointer(nativeDir))
	var restored Snapshot
	err = onFile(ctx, path, options, func(path *C.char, o nativeOptions) C.go_answer {
		return C.go_snapshot_restore(path, nativeDir, o.at, o.count)
	}, func(result *C.coffer_result) {
		restored = snapshotOf(result)
	})
	return restored, err
}

// onFile makes a call on a file. It waits inside of the library, and cannot be ended once it began.
func onFile(ctx context.Context, path string, options []Option,
	call func(*C.char, nativeOptions) C.go_answer, use func(*C.coffer_result),
) error {
	native, err := nativeString(path)
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(native))
	o, err := newNativeOptions(options)
	if err != nil {
		return err
	}
	defer o.free()
	return inside(ctx, func() C.go_answer { return call(native, o) }, use)
}

// inside makes a call that waits for its answer.
func inside(ctx context.Context, call func() C.go_answer, use func(*C.coffer_result)) error {
	if err := ctx.Err(); err != nil {
		return &Error{Code: ErrCanceled, Message: "not begun", cause: err}
	}
	answer := call()
	defer freeResult(&answer.result)
	if err := errorOf(answer.status, answer.error); err != nil {
		return err
	}
	use(&answer.result)
	return nil
}
