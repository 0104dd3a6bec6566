package clientv3_test

import (
	"context"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeasesLiveAndEndWithTheirKeys(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	lease, err := client.Grant(deadline(t), 60)
	check(t, err)
	equal(t, "ttl", lease.TTL, 60)
	put(t, client, prefix+"a", "1", clientv3.WithLease(lease.ID))
	put(t, client, prefix+"b", "1", clientv3.WithLease(lease.ID))
	left, err := client.TimeToLive(deadline(t), lease.ID, clientv3.WithAttachedKeys())
	check(t, err)
	equal(t, "granted", left.GrantedTTL, 60)
	equal(t, "keys", len(left.Keys), 2)
	if left.TTL < 50 || left.TTL > 60 {
		t.Fatalf("%d seconds left of 60", left.TTL)
	}
	once, err := client.KeepAliveOnce(deadline(t), lease.ID)
	check(t, err)
	equal(t, "renewed", once.TTL, 60)
	all, err := client.Leases(deadline(t))
	check(t, err)
	found := false
	for _, status := range all.Leases {
		found = found || status.ID == lease.ID
	}
	equal(t, "listed", found, true)
	revoked, err := client.Revoke(deadline(t), lease.ID)
	check(t, err)
	response, err := client.Get(deadline(t), prefix, clientv3.WithPrefix())
	check(t, err)
	equal(t, "keys of a revoked lease", response.Count, 0)
	equal(t, "one revision for both", response.Header.Revision, revoked.Header.Revision)

	gone, err := client.TimeToLive(deadline(t), lease.ID)
	check(t, err)
	equal(t, "no such lease", gone.TTL, -1)
	_, err = client.KeepAliveOnce(deadline(t), lease.ID)
	equal(t, "keep alive of none", err, error(rpctypes.ErrLeaseNotFound))
	_, err = client.Revoke(deadline(t), lease.ID)
	equal(t, "revoke of none", err, error(rpctypes.ErrLeaseNotFound))
	_, err = client.Grant(deadline(t), 9_000_000_001)
	equal(t, "too long", err, error(rpctypes.ErrLeaseTTLTooLarge))
}

func TestALeaseKeptAliveOutlivesItsTTLAndThenExpires(t *testing.T) {
	client, key := connect(t), prefix(t)+"a"
	lease, err := client.Grant(deadline(t), 2)
	check(t, err)
	put(t, client, key, "1", clientv3.WithLease(lease.ID))
	watch := client.Watch(deadline(t), key, clientv3.WithCreatedNotify())
	receive(t, watch)
	ctx, cancel := context.WithCancel(deadline(t))
	renewals, err := client.KeepAlive(ctx, lease.ID)
	check(t, err)
	for range 6 { // the client renews each third of the TTL: twice the lease's life
		if renewal := <-renewals; renewal == nil {
			t.Fatal("the keepalive ended")
		}
	}
	response, err := client.Get(deadline(t), key)
	check(t, err)
	equal(t, "alive", response.Count, 1)
	cancel()
	equal(t, "expired", events(t, watch, 1)[0].Type, clientv3.EventTypeDelete)
}
