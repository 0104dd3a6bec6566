package coffer

// #include "native.h"
import "C"

import (
	"context"
	"strings"
	"unsafe"
)

// Compact makes revisions below `revision` unreadable; their space is reclaimed in the background. It fails with
// [ErrCompacted] if that was done already.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	return s.compact(ctx, revision, 0)
}

// CompactAndReclaim does what [Store.Compact] does, and returns once the space was reclaimed.
func (s *Store) CompactAndReclaim(ctx context.Context, revision int64) error {
	return s.compact(ctx, revision, C.COFFER_COMPACT_PHYSICAL)
}

func (s *Store) compact(ctx context.Context, revision int64, flags C.uint32_t) error {
	return s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_compact(call, C.int64_t(revision), flags)
	}, nil)
}

// Status is how the member that answers sees its store.
type Status struct {
	Header
	// Version is that of the program or library that has the store open.
	Version string
	// Backend is "segment", "sqlite" or "memory".
	Backend string
	// Errors are what does not work.
	Errors []string
	// Sealed, Learner, NoSpace and Corrupt: the store is sealed; the member that answers has no vote; an alarm says that
	// there is no room; an alarm says that members differ.
	Sealed, Learner, NoSpace, Corrupt bool
	// Size is what the store takes, InUse what of it is in use, Quota what it may take (0 for no limit), in bytes.
	Size, InUse, Quota uint64
	// Leader is the member that leads; 0 if none is known.
	Leader uint64
	// RaftIndex is the index of the newest log entry, RaftAppliedIndex that of the newest applied one.
	RaftIndex, RaftAppliedIndex uint64
	// CompactRevision: the oldest revision that can be read is the one above it.
	CompactRevision int64
	// Keys, Leases and Watchers are how many exist.
	Keys, Leases, Watchers uint64
}

// Status tells how the member that answers sees its store.
func (s *Store) Status(ctx context.Context) (Status, error) {
	var status Status
	err := s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_store_status(call)
	}, func(result *C.coffer_result) {
		status = statusOf(result)
	})
	return status, err
}

func statusOf(result *C.coffer_result) Status {
	status := Status{Header: headerOf(result)}
	info := result.store
	if info == nil {
		return status
	}
	status.Version = C.GoString(info.version)
	status.Backend = C.GoString(info.backend)
	status.Errors = lines(C.GoString(info.errors))
	status.Sealed = info.flags&C.COFFER_STORE_SEALED != 0
	status.Learner = info.flags&C.COFFER_STORE_LEARNER != 0
	status.NoSpace = info.flags&C.COFFER_STORE_NO_SPACE != 0
	status.Corrupt = info.flags&C.COFFER_STORE_CORRUPT != 0
	status.Size = uint64(info.size_bytes)
	status.InUse = uint64(info.in_use_bytes)
	status.Quota = uint64(info.quota_bytes)
	status.Leader = uint64(info.leader)
	status.RaftIndex = uint64(info.raft_index)
	status.RaftAppliedIndex = uint64(info.raft_applied_index)
	status.CompactRevision = int64(info.compact_revision)
	status.Keys = uint64(info.keys)
	status.Leases = uint64(info.leases)
	status.Watchers = uint64(info.watchers)
	return status
}

func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// A Hash is a hash over the content of a store.
type Hash struct {
	Hash uint32
	// Revision is the one that was hashed up to.
	Revision int64
	// CompactRevision: the oldest revision that was hashed is the one above it.
	CompactRevision int64
}

// Hash tells a hash over the content up to `revision`, 0 for the newest, equal to etcd's HashKV for equal content.
func (s *Store) Hash(ctx context.Context, revision int64) (Hash, error) {
	var hash Hash
	err := s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_hash_kv(call, C.int64_t(revision))
	}, func(result *C.coffer_result) {
		hash = Hash{uint32(result.hash), int64(result.revision), int64(result.compact_revision)}
	})
	return hash, err
}

// A Member is one of a cluster.
type Member struct {
	ID   uint64
	Name string
	// Learner reports that it has no vote, Leader that it leads.
	Learner, Leader bool
	// PeerURLs are where other members reach it, ClientURLs where clients do.
	PeerURLs, ClientURLs []string
}

// Members lists who belongs to the cluster, as of now.
func (s *Store) Members(ctx context.Context) ([]Member, error) {
	var members []Member
	err := s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_member_list(call, 1)
	}, func(result *C.coffer_result) {
		for i := range int(result.member_count) {
			members = append(members, memberOf(&unsafe.Slice(result.members, result.member_count)[i]))
		}
	})
	return members, err
}

func memberOf(member *C.coffer_member) Member {
	return Member{
		ID:         uint64(member.id),
		Name:       C.GoString(member.name),
		Learner:    member.flags&C.COFFER_MEMBER_LEARNER != 0,
		Leader:     member.flags&C.COFFER_MEMBER_LEADER != 0,
		PeerURLs:   urls(C.GoString(member.peer_urls)),
		ClientURLs: urls(C.GoString(member.client_urls)),
	}
}

func urls(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}
