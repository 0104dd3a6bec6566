package coffer

// #include "native.h"
import "C"

import (
	"context"
	"sync"
	"time"
	"unsafe"
)

// A LeaseID is the id of a lease; 0 is none.
type LeaseID int64

// A Lease is what is left of a lease.
type Lease struct {
	ID LeaseID
	// TTL is what it has left; negative if there is no such lease.
	TTL time.Duration
	// Granted is what it was granted with, if that was asked for.
	Granted time.Duration
	// Keys are those that end with it, if they were asked for.
	Keys []string
}

// seconds rounds up, so that a lease lives at least as long as was asked for.
func seconds(d time.Duration) C.int64_t {
	return C.int64_t((d + time.Second - 1) / time.Second)
}

func leaseOf(result *C.coffer_result) Lease {
	lease := Lease{
		ID:      LeaseID(result.lease),
		TTL:     time.Duration(result.ttl_s) * time.Second,
		Granted: time.Duration(result.granted_ttl_s) * time.Second,
	}
	for i := range int(result.kv_count) {
		lease.Keys = append(lease.Keys, string(bytesOf(unsafe.Slice(result.kvs, result.kv_count)[i].key)))
	}
	return lease
}

func (s *Store) lease(ctx context.Context, submit func(C.go_call) C.go_outcome) (Lease, error) {
	var lease Lease
	err := s.ask(ctx, submit, func(result *C.coffer_result) { lease = leaseOf(result) })
	return lease, err
}

// Grant creates a lease, whose id the store chooses. It lives for `ttl`, in whole seconds, unless it is kept alive; the
// store may raise that to its minimum.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	return s.GrantAs(ctx, ttl, 0)
}

// GrantAs creates a lease with this id. It fails with [ErrLeaseExists] if the id is taken.
func (s *Store) GrantAs(ctx context.Context, ttl time.Duration, id LeaseID) (Lease, error) {
	return s.lease(ctx, func(call C.go_call) C.go_outcome {
		return C.go_lease_grant(call, seconds(ttl), C.int64_t(id))
	})
}

// Revoke ends a lease and deletes its keys, in one revision. It fails with [ErrLeaseNotFound] if there is no such lease.
func (s *Store) Revoke(ctx context.Context, id LeaseID) error {
	return s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_lease_revoke(call, C.int64_t(id))
	}, nil)
}

// Renew renews a lease once. It fails with [ErrLeaseNotFound] if there is no such lease. [Store.KeepAlive] goes on with it.
func (s *Store) Renew(ctx context.Context, id LeaseID) (Lease, error) {
	return s.lease(ctx, func(call C.go_call) C.go_outcome {
		return C.go_lease_renew(call, C.int64_t(id))
	})
}

// TimeToLive tells what is left of a lease, with its keys if they are asked for. An unknown lease is no failure: its TTL
// is negative.
func (s *Store) TimeToLive(ctx context.Context, id LeaseID, keys bool) (Lease, error) {
	var with C.int32_t
	if keys {
		with = 1
	}
	return s.lease(ctx, func(call C.go_call) C.go_outcome {
		return C.go_lease_time_to_live(call, C.int64_t(id), with)
	})
}

// Leases lists all leases.
func (s *Store) Leases(ctx context.Context) ([]LeaseID, error) {
	var leases []LeaseID
	err := s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_lease_list(call)
	}, func(result *C.coffer_result) {
		for i := range int(result.lease_count) {
			leases = append(leases, LeaseID(unsafe.Slice(result.leases, result.lease_count)[i]))
		}
	})
	return leases, err
}

// A Keeper keeps a lease alive. It takes neither a goroutine nor a thread of Go's.
type Keeper struct {
	store *Store
	tag   uint64
	lost  chan struct{}

	mu     sync.Mutex
	handle C.uint64_t
	err    error
	closed bool
	onLost func(error)
}

// KeepAlive keeps a lease alive in the background, by renewing it at a third of its time, until the keeper or the store is
// closed. [Keeper.Lost] tells if that becomes impossible.
func (s *Store) KeepAlive(id LeaseID) (*Keeper, error) {
	return s.keepAlive(id, func(error) {})
}

// keepAlive does that, and calls onLost, which must neither block nor use the keeper, when the lease is lost.
func (s *Store) keepAlive(id LeaseID, onLost func(error)) (*Keeper, error) {
	k := &Keeper{store: s, lost: make(chan struct{}), onLost: onLost}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tag = s.inbox.register(k)
	opened := C.go_keeper_open(s.call(context.Background(), k.tag), C.int64_t(id))
	if err := errorOf(opened.status, opened.error); err != nil {
		s.inbox.unregister(k.tag)
		return nil, s.explain(err)
	}
	k.handle = opened.id
	return k, nil
}

func (k *Keeper) receive(completion *C.coffer_completion) {
	err := errorOf(completion.status, completion.error.id)
	freeResult(&completion.result)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.onLost(err)
		k.end(err)
	}
}

func (k *Keeper) end(err error) {
	C.go_keeper_close(k.handle)
	k.closed, k.err = true, err
	close(k.lost)
}

// Lost is closed when the lease is no longer kept: Err says why.
func (k *Keeper) Lost() <-chan struct{} { return k.lost }

// Err says why the lease is no longer kept: [ErrLeaseNotFound] if it was revoked or ran out, [ErrStopped] if the store was
// closed, what kept it from being renewed; nil while it is kept, and after Close.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Close ceases to keep the lease: it runs out unless it is renewed otherwise. A second time does nothing.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.end(nil)
	k.store.inbox.unregister(k.tag)
}
