package clientv3_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestWatchFromARevisionWithPreviousPairs(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	first := put(t, client, prefix+"a", "1")
	put(t, client, prefix+"a", "2")
	_, err := client.Delete(deadline(t), prefix+"a")
	check(t, err)
	watch := client.Watch(clientv3.WithRequireLeader(deadline(t)), prefix,
		clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	equal(t, "created", receive(t, watch).Created, true)
	put(t, client, prefix+"b", "3")
	seen := events(t, watch, 4)
	equal(t, "create", seen[0].IsCreate(), true)
	if seen[0].PrevKv != nil {
		t.Fatal("a created key had a previous pair")
	}
	equal(t, "modify", seen[1].IsModify(), true)
	equal(t, "previous value", string(seen[1].PrevKv.Value), "1")
	equal(t, "delete", seen[2].Type, clientv3.EventTypeDelete)
	equal(t, "deleted value", string(seen[2].PrevKv.Value), "2")
	equal(t, "live event", string(seen[3].Kv.Key), prefix+"b")
	for i, event := range seen {
		equal(t, "revision", event.Kv.ModRevision, first+int64(i))
	}
}

func TestProgressOnRequestFollowsTheEvents(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	ctx := clientv3.WithRequireLeader(deadline(t))
	watch := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	receive(t, watch)
	last := put(t, client, prefix+"a", "1")
	events(t, watch, 1)
	for end := time.Now().Add(patience); ; {
		check(t, client.RequestProgress(ctx))
		select {
		case response := <-watch:
			check(t, response.Err())
			equal(t, "progress", response.IsProgressNotify(), true)
			if response.Header.Revision < last {
				t.Fatalf("progress at %d, behind the event at %d", response.Header.Revision, last)
			}
			return
		case <-time.After(100 * time.Millisecond): // as kube-apiserver asks
			if time.Now().After(end) {
				t.Fatal("no progress")
			}
		}
	}
}

func TestFiltersAndFragments(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	onlyDeletes := client.Watch(deadline(t), prefix, clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	onlyPuts := client.Watch(deadline(t), prefix, clientv3.WithPrefix(), clientv3.WithFilterDelete(), clientv3.WithCreatedNotify())
	receive(t, onlyDeletes)
	receive(t, onlyPuts)
	first := put(t, client, prefix+"a", "1")
	_, err := client.Delete(deadline(t), prefix+"a")
	check(t, err)
	put(t, client, prefix+"a", "2")
	equal(t, "deletes", events(t, onlyDeletes, 1)[0].Type, clientv3.EventTypeDelete)
	equal(t, "puts", string(events(t, onlyPuts, 2)[1].Kv.Value), "2")

	value := strings.Repeat("x", 1<<20)
	for i := range 5 {
		put(t, client, fmt.Sprint(prefix, "big", i), value)
	}
	fragments := client.Watch(deadline(t), prefix+"big", clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithFragment())
	for i, event := range events(t, fragments, 5) {
		equal(t, "key", string(event.Kv.Key), fmt.Sprint(prefix, "big", i))
		equal(t, "bytes", len(event.Kv.Value), 1<<20)
	}
}

func TestAWatchBelowTheCompactionIsTold(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	first := put(t, client, prefix+"a", "1")
	compacted := put(t, client, prefix+"a", "2")
	_, err := client.Compact(deadline(t), compacted)
	check(t, err)
	select {
	case response := <-client.Watch(deadline(t), prefix+"a", clientv3.WithRev(first)):
		equal(t, "error", response.Err(), error(rpctypes.ErrCompacted))
		equal(t, "compact revision", response.CompactRevision, compacted)
		equal(t, "canceled", response.Canceled, true)
	case <-time.After(patience):
		t.Fatal("no answer")
	}
}

func TestManyWatchersOnOneStreamAndCancel(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	const watchers = 100
	ctx, cancel := context.WithCancel(deadline(t))
	var watches []clientv3.WatchChan
	for i := range watchers {
		watches = append(watches, client.Watch(ctx, fmt.Sprintf("%s%02d", prefix, i%50), clientv3.WithCreatedNotify()))
	}
	for _, watch := range watches {
		receive(t, watch)
	}
	for i := range 50 {
		put(t, client, fmt.Sprintf("%s%02d", prefix, i), "x")
	}
	for i, watch := range watches {
		equal(t, "key", string(events(t, watch, 1)[0].Kv.Key), fmt.Sprintf("%s%02d", prefix, i%50))
	}
	cancel()
	for _, watch := range watches {
		for range watch {
		}
	}
}
