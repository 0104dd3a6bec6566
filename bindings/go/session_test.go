package coffer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func session(t testing.TB, store *Store, options ...SessionOption) *Session {
	t.Helper()
	s, err := store.NewSession(deadline(t), options...)
	check(t, err)
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func TestALockExcludes(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		const workers, rounds = 6, 5
		name := prefix(t) + "lock"
		var inside, last atomic.Int64
		var group sync.WaitGroup
		for range workers {
			s := session(t, store)
			group.Add(1)
			go func() {
				defer group.Done()
				for range rounds {
					lock, err := s.Lock(context.Background(), name)
					if err != nil {
						t.Error(err)
						return
					}
					if inside.Add(1) != 1 {
						t.Error("two hold it")
					}
					if before := last.Swap(lock.Token()); before >= lock.Token() {
						t.Errorf("token %d after %d", lock.Token(), before)
					}
					time.Sleep(time.Millisecond)
					inside.Add(-1)
					if err := lock.Unlock(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		group.Wait()
		equal(t, "keys left", count(t, store, name), 0)
	})
}

// The keys are those of etcd's concurrency package: NAME/LEASE in hexadecimal, and whose was created first holds.
func TestTheKeysOfALockAreEtcds(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		name := prefix(t) + "lock"
		other, err := store.Grant(deadline(t), time.Minute)
		check(t, err)
		theirs := fmt.Sprintf("%s/%x", name, int64(other.ID))
		put(t, store, theirs, "", WithLease(other.ID))

		s := session(t, store)
		if _, err := s.TryLock(deadline(t), name); err != ErrLocked {
			t.Fatalf("got %v", err)
		}
		equal(t, "keys", count(t, store, name), 1)
		locked := make(chan *Lock, 1)
		go func() {
			lock, err := s.Lock(context.Background(), name)
			if err != nil {
				t.Error(err)
			}
			locked <- lock
		}()
		eventually(t, "it waits", func() bool { return count(t, store, name) == 2 })
		select {
		case <-locked:
			t.Fatal("two hold it")
		case <-time.After(100 * time.Millisecond):
		}
		_, err = store.Delete(deadline(t), theirs)
		check(t, err)
		lock := <-locked
		equal(t, "key", lock.Key(), fmt.Sprintf("%s/%x", name, int64(s.Lease())))
		kv, err := store.Get(deadline(t), lock.Key())
		check(t, err)
		equal(t, "token", lock.Token(), kv.CreateRevision)
		check(t, lock.Unlock(deadline(t)))
		check(t, lock.Unlock(deadline(t)))
	})
}

func TestWhoWaitsForALockLeavesWithItsContext(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		name := prefix(t) + "lock"
		lock, err := session(t, store).Lock(deadline(t), name)
		check(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		waits := make(chan error, 1)
		go func() {
			_, err := session(t, store).Lock(ctx, name)
			waits <- err
		}()
		eventually(t, "it waits", func() bool { return count(t, store, name) == 2 })
		cancel()
		if err := <-waits; !errors.Is(err, context.Canceled) || errors.Is(err, ErrSessionExpired) {
			t.Fatalf("got %v", err)
		}
		equal(t, "keys", count(t, store, name), 1)
		check(t, lock.Unlock(deadline(t)))
	})
}

func TestAHolderThatLostItsLockIsFenced(t *testing.T) {
	everywhereAtOnce(t, func(t *testing.T, store *Store) {
		ctx, base := deadline(t), prefix(t)
		lost := session(t, store, WithTTL(3*time.Second))
		stale, err := lost.Lock(ctx, base+"lock")
		check(t, err)
		write := func(lock *Lock, value string) bool {
			answer, err := store.Txn().If(lock.Held()).Then(OpPut(base+"guarded", []byte(value))).Commit(ctx)
			check(t, err)
			return answer.Succeeded
		}
		equal(t, "holder", write(stale, "first"), true)

		check(t, store.Revoke(ctx, lost.Lease())) // as if its program had slept for too long
		fresh, err := session(t, store).Lock(ctx, base+"lock")
		check(t, err)
		equal(t, "tokens", fresh.Token() > stale.Token(), true)
		equal(t, "holder that lost it", write(stale, "late"), false)
		equal(t, "new holder", write(fresh, "second"), true)
		select {
		case <-stale.Lost():
		case <-time.After(patience):
			t.Fatal("the session does not notice")
		}
		if !errors.Is(lost.Err(), ErrSessionExpired) {
			t.Fatalf("got %v", lost.Err())
		}
		check(t, fresh.Unlock(ctx))
		equal(t, "unlocked", write(fresh, "third"), false)
		if _, err := lost.Lock(ctx, base+"lock"); !errors.Is(err, ErrSessionExpired) {
			t.Fatalf("a lock of a session that has expired: %v", err)
		}
	})
}

func TestASessionThatEndsLetsItsLocksGo(t *testing.T) {
	everywhereAtOnce(t, func(t *testing.T, store *Store) {
		name := prefix(t) + "lock"
		first := session(t, store, WithTTL(2*time.Second))
		_, err := first.Lock(deadline(t), name)
		check(t, err)
		check(t, first.Close(deadline(t)))
		if first.Err() == nil {
			t.Fatal("it lasts")
		}
		lease, err := store.Grant(deadline(t), 2*time.Second)
		check(t, err)
		second := session(t, store, WithExistingLease(lease.ID))
		equal(t, "lease", second.Lease(), lease.ID)
		_, err = second.Lock(deadline(t), name)
		check(t, err)
		second.Orphan() // as if the program had died
		lock, err := session(t, store).Lock(deadline(t), name)
		check(t, err)
		check(t, lock.Unlock(deadline(t)))
	})
}

func TestAnElectionHasOneLeaderWhomOthersObserve(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, name := deadline(t), prefix(t)+"election"
		_, err := store.Leader(ctx, name)
		equal(t, "before", err, error(ErrNotFound))
		observing, stop := context.WithCancel(ctx)
		observed := make(chan string, 16)
		go func() {
			for leader, err := range store.Observe(observing, name) {
				if err != nil {
					observed <- fmt.Sprint("ended: ", errors.Is(err, context.Canceled))
					return
				}
				observed <- string(leader.Value)
			}
		}()

		first, second := session(t, store).Election(name), session(t, store).Election(name)
		equal(t, "proclaims without leading", first.Proclaim(ctx, []byte("no")), ErrNotElected)
		check(t, first.Campaign(ctx, []byte("one")))
		equal(t, "observed", <-observed, "one")
		leads := make(chan error, 1)
		go func() { leads <- second.Campaign(ctx, []byte("two")) }()
		eventually(t, "it waits", func() bool { return count(t, store, name) == 2 })
		leader, err := store.Leader(ctx, name)
		check(t, err)
		equal(t, "leader", leader.Key, first.Key())
		equal(t, "token", leader.CreateRevision, first.Token())

		check(t, first.Proclaim(ctx, []byte("uno")))
		equal(t, "observed", <-observed, "uno")
		check(t, first.Campaign(ctx, []byte("eins"))) // it leads already
		equal(t, "observed", <-observed, "eins")
		check(t, first.Resign(ctx))
		check(t, <-leads)
		equal(t, "observed", <-observed, "two")
		equal(t, "tokens", second.Token() > leader.CreateRevision, true)
		equal(t, "proclaims after leading", first.Proclaim(ctx, []byte("no")), ErrNotElected)
		check(t, second.Resign(ctx))
		stop()
		equal(t, "observed", <-observed, "ended: true")
	})
}
