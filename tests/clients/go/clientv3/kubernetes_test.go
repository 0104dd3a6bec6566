package clientv3_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

func apiserver(t testing.TB) *kubernetes.Client {
	t.Helper()
	client, err := kubernetes.New(config(t))
	check(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func TestObjectsAreCreatedUpdatedAndDeletedByRevision(t *testing.T) {
	client, key := apiserver(t), "/registry"+prefix(t)+"pod"
	kv := client.Kubernetes
	lease, err := client.Grant(deadline(t), 3600)
	check(t, err)
	created, err := kv.OptimisticPut(deadline(t), key, []byte("1"), 0, kubernetes.PutOptions{LeaseID: lease.ID})
	check(t, err)
	equal(t, "created", created.Succeeded, true)
	again, err := kv.OptimisticPut(deadline(t), key, []byte("2"), 0, kubernetes.PutOptions{})
	check(t, err)
	equal(t, "created twice", again.Succeeded, false)
	stale, err := kv.OptimisticPut(deadline(t), key, []byte("2"), created.Revision-1, kubernetes.PutOptions{GetOnFailure: true})
	check(t, err)
	equal(t, "stale update", stale.Succeeded, false)
	equal(t, "answers what is there", stale.KV.ModRevision, created.Revision)
	equal(t, "lease", stale.KV.Lease, int64(lease.ID))
	updated, err := kv.OptimisticPut(deadline(t), key, []byte("2"), created.Revision, kubernetes.PutOptions{GetOnFailure: true})
	check(t, err)
	equal(t, "update", updated.Succeeded, true)
	got, err := kv.Get(deadline(t), key, kubernetes.GetOptions{})
	check(t, err)
	equal(t, "revision", got.KV.ModRevision, updated.Revision)
	old, err := kv.Get(deadline(t), key, kubernetes.GetOptions{Revision: created.Revision})
	check(t, err)
	equal(t, "old value", string(old.KV.Value), "1")
	kept, err := kv.OptimisticDelete(deadline(t), key, created.Revision, kubernetes.DeleteOptions{GetOnFailure: true})
	check(t, err)
	equal(t, "stale delete", kept.Succeeded, false)
	equal(t, "answers what is there", string(kept.KV.Value), "2")
	deleted, err := kv.OptimisticDelete(deadline(t), key, updated.Revision, kubernetes.DeleteOptions{GetOnFailure: true})
	check(t, err)
	equal(t, "delete", deleted.Succeeded, true)
	equal(t, "revision", deleted.Revision, updated.Revision+1)
	twice, err := kv.OptimisticDelete(deadline(t), key, updated.Revision, kubernetes.DeleteOptions{GetOnFailure: true})
	check(t, err)
	equal(t, "deleted twice", twice.Succeeded, false)
	if twice.KV != nil {
		t.Fatal("a deleted object came back")
	}
}

// All pages are of the first page's revision, and a page's count says how much is left.
func TestListsArePagesPinnedToARevision(t *testing.T) {
	client, prefix := apiserver(t), "/registry"+prefix(t)
	const objects = 1050
	for i := range objects {
		_, err := client.Kubernetes.OptimisticPut(deadline(t), fmt.Sprintf("%s%05d", prefix, i), []byte("x"), 0, kubernetes.PutOptions{})
		check(t, err)
	}
	seen, revision, next := 0, int64(0), ""
	for page := 0; ; page++ {
		list, err := client.Kubernetes.List(deadline(t), prefix, kubernetes.ListOptions{Limit: 100, Revision: revision, Continue: next})
		check(t, err)
		equal(t, "count", list.Count, int64(objects-seen))
		if page == 0 {
			revision = list.Revision
		}
		for _, kv := range list.Kvs {
			equal(t, "key", string(kv.Key), fmt.Sprintf("%s%05d", prefix, seen))
			equal(t, "value", string(kv.Value), "x")
			seen++
		}
		// What changes meanwhile belongs to later revisions.
		put(t, client.Client, fmt.Sprintf("%s%05d", prefix, seen), "changed")
		put(t, client.Client, fmt.Sprintf("%s%05d-new", prefix, seen), "new")
		_, err = client.Delete(deadline(t), fmt.Sprintf("%s%05d", prefix, seen+1))
		check(t, err)
		if int64(len(list.Kvs)) == list.Count {
			break
		}
		next = string(list.Kvs[len(list.Kvs)-1].Key) + "\x00"
	}
	equal(t, "objects", seen, objects)
	count, err := client.Kubernetes.Count(deadline(t), prefix, kubernetes.CountOptions{})
	check(t, err)
	newest, err := client.Kubernetes.List(deadline(t), prefix, kubernetes.ListOptions{})
	check(t, err)
	equal(t, "count", count, int64(len(newest.Kvs)))
}

func TestAWatchCacheFollowsTheStore(t *testing.T) {
	client, prefix := apiserver(t), "/registry"+prefix(t)
	put(t, client.Client, prefix+"a", "1")
	list, err := client.Kubernetes.List(deadline(t), prefix, kubernetes.ListOptions{})
	check(t, err)
	cache := map[string]string{}
	for _, kv := range list.Kvs {
		cache[string(kv.Key)] = string(kv.Value)
	}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(deadline(t)))
	defer cancel()
	watch := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(list.Revision+1),
		clientv3.WithPrevKV(), clientv3.WithProgressNotify())
	var last int64
	for i := range 200 {
		key := fmt.Sprint(prefix, i%20)
		if i%7 == 6 {
			response, err := client.Delete(deadline(t), key)
			check(t, err)
			last = response.Header.Revision
		} else {
			last = put(t, client.Client, key, fmt.Sprint(i))
		}
	}
	check(t, client.RequestProgress(ctx))
	for seen := int64(0); seen < last; {
		response := receive(t, watch)
		for _, event := range response.Events {
			key, previous := string(event.Kv.Key), ""
			if event.PrevKv != nil {
				previous = string(event.PrevKv.Value)
			}
			if !event.IsCreate() && event.PrevKv == nil {
				t.Fatalf("no previous pair of %s at %d: kube-apiserver ends a watch for it", key, event.Kv.ModRevision)
			}
			equal(t, "previous value", previous, cache[key])
			if event.Type == mvccpb.Event_DELETE {
				delete(cache, key)
			} else {
				cache[key] = string(event.Kv.Value)
			}
			if event.Kv.ModRevision < seen {
				t.Fatalf("an event of %d after %d", event.Kv.ModRevision, seen)
			}
			seen = event.Kv.ModRevision
		}
		if response.IsProgressNotify() && response.Header.Revision > seen {
			seen = response.Header.Revision
		}
	}
	final, err := client.Kubernetes.List(deadline(t), prefix, kubernetes.ListOptions{})
	check(t, err)
	equal(t, "objects", len(cache), len(final.Kvs))
	for _, kv := range final.Kvs {
		equal(t, "cached value", cache[string(kv.Key)], string(kv.Value))
	}
}

// What every apiserver does each five minutes: one of them compacts to the revision of the round before.
func TestTheCompactionLoop(t *testing.T) {
	client := apiserver(t)
	key := "compact_rev_key"
	_, err := client.Delete(deadline(t), key)
	check(t, err)
	compact := func(version, revision int64) (int64, int64, bool) {
		response, err := client.Txn(deadline(t)).If(clientv3.Compare(clientv3.Version(key), "=", version)).
			Then(clientv3.OpPut(key, strconv.FormatInt(revision, 10))).Else(clientv3.OpGet(key)).Commit()
		check(t, err)
		if !response.Succeeded {
			kv := response.Responses[0].GetResponseRange().Kvs[0]
			return kv.Version, response.Header.Revision, false
		}
		if revision != 0 {
			_, err := client.Compact(deadline(t), revision)
			check(t, err)
		}
		return version + 1, response.Header.Revision, true
	}
	type server struct{ version, revision int64 }
	var servers [3]server
	for round := range 4 {
		won := 0
		for i := range servers {
			version, revision, ok := compact(servers[i].version, servers[i].revision)
			if ok {
				won++
			}
			servers[i] = server{version, revision}
		}
		equal(t, fmt.Sprint("winners of round ", round), won, 1)
		put(t, client.Client, prefix(t)+"a", fmt.Sprint(round))
	}
	_, err = client.KV.Get(deadline(t), key, clientv3.WithRev(servers[0].revision-3))
	equal(t, "below", err, error(rpctypes.ErrCompacted))
}
