package coffer

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestALeaseTakesItsKeysWithIt(t *testing.T) {
	everywhereAtOnce(t, func(t *testing.T, store *Store) {
		ctx, base := deadline(t), prefix(t)
		lease, err := store.Grant(ctx, 1500*time.Millisecond)
		check(t, err)
		equal(t, "whole seconds", lease.TTL, 2*time.Second)
		put(t, store, base+"a", "v", WithLease(lease.ID))
		put(t, store, base+"b", "v", WithLease(lease.ID))
		kv, err := store.Get(ctx, base+"a")
		check(t, err)
		equal(t, "lease of a key", kv.Lease, lease.ID)
		left, err := store.TimeToLive(ctx, lease.ID, true)
		check(t, err)
		equal(t, "granted", left.Granted, 2*time.Second)
		equal(t, "keys", len(left.Keys), 2)
		w := watch(t, store, Prefix(base))
		for _, event := range events(t, w, 2) {
			equal(t, "type", event.Type, EventDelete)
		}
		left, err = store.TimeToLive(ctx, lease.ID, false)
		check(t, err)
		equal(t, "gone", left.TTL < 0, true)
	})
}

func TestLeasesAreListedRenewedAndRevoked(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, key := deadline(t), prefix(t)
		id := LeaseID(time.Now().UnixNano())
		lease, err := store.GrantAs(ctx, time.Minute, id)
		check(t, err)
		equal(t, "id", lease.ID, id)
		if _, err := store.GrantAs(ctx, time.Minute, id); !errors.Is(err, ErrLeaseExists) {
			t.Fatalf("the same id again: %v", err)
		}
		all, err := store.Leases(ctx)
		check(t, err)
		equal(t, "listed", slices.Contains(all, id), true)
		renewed, err := store.Renew(ctx, id)
		check(t, err)
		equal(t, "renewed", renewed.TTL, time.Minute)
		put(t, store, key, "v", WithLease(id))
		check(t, store.Revoke(ctx, id))
		_, err = store.Get(ctx, key)
		equal(t, "key", err, error(ErrNotFound))
		if err := store.Revoke(ctx, id); !errors.Is(err, ErrLeaseNotFound) {
			t.Fatalf("revoked again: %v", err)
		}
		if _, err := store.Put(ctx, key, nil, WithLease(id)); !errors.Is(err, ErrLeaseNotFound) {
			t.Fatalf("put with it: %v", err)
		}
	})
}

func TestAKeptLeaseLivesUntilItsKeeperIsClosed(t *testing.T) {
	everywhereAtOnce(t, func(t *testing.T, store *Store) {
		ctx, key := deadline(t), prefix(t)
		lease, err := store.Grant(ctx, 2*time.Second)
		check(t, err)
		keeper, err := store.KeepAlive(lease.ID)
		check(t, err)
		put(t, store, key, "v", WithLease(lease.ID))
		select {
		case <-keeper.Lost():
			t.Fatalf("lost: %v", keeper.Err())
		case <-time.After(5 * time.Second): // it would have ended at 4 s
		}
		equal(t, "key", get(t, store, key), "v")
		w := watch(t, store, Key(key))
		keeper.Close()
		keeper.Close()
		check(t, keeper.Err())
		equal(t, "ended", events(t, w, 1)[0].Type, EventDelete)
	})
}

func TestAKeeperTellsThatItsLeaseIsLost(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			store, err := Open(deadline(t), p.uri(t), p.options...)
			check(t, err)
			defer store.Close()
			lease, err := store.Grant(deadline(t), 2*time.Second)
			check(t, err)
			keeper, err := store.KeepAlive(lease.ID)
			check(t, err)
			check(t, store.Revoke(deadline(t), lease.ID))
			select {
			case <-keeper.Lost():
			case <-time.After(patience):
				t.Fatal("it does not")
			}
			if !errors.Is(keeper.Err(), ErrLeaseNotFound) {
				t.Fatalf("lost: %v", keeper.Err())
			}

			lease, err = store.Grant(deadline(t), time.Minute)
			check(t, err)
			keeper, err = store.KeepAlive(lease.ID)
			check(t, err)
			check(t, store.Close())
			<-keeper.Lost()
			if !errors.Is(keeper.Err(), ErrStopped) {
				t.Fatalf("the store was closed: %v", keeper.Err())
			}
			keeper.Close()
		})
	}
}
