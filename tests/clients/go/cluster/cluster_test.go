// Package cluster_test drives three members with etcd's own Go client, and kills some of them.
package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A test that waits longer than this has failed.
const patience = 30 * time.Second

// members are the processes by their endpoints.
func members(t *testing.T) map[string]int {
	t.Helper()
	pids := map[string]int{}
	for _, one := range strings.Split(os.Getenv("MEMBER_PIDS"), ",") {
		endpoint, pid, found := strings.Cut(one, "=")
		number, err := strconv.Atoi(pid)
		if !found || err != nil {
			t.Fatal("MEMBER_PIDS is not set; tests/clients/cluster/run sets it")
		}
		pids[endpoint] = number
	}
	return pids
}

func connect(t *testing.T, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: patience, Logger: zap.NewNop(),
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// leader is the endpoint of whoever leads, of those that the client knows.
func leader(t *testing.T, ctx context.Context, client *clientv3.Client) string {
	t.Helper()
	for ctx.Err() == nil {
		for _, endpoint := range client.Endpoints() {
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			status, err := client.Status(try, endpoint)
			cancel()
			if err == nil && status.Leader == status.Header.MemberId {
				return endpoint
			}
		}
	}
	t.Fatal("nobody leads")
	return ""
}

// TestAClusterOutlivesItsLeaderAndThenItsQuorum is one story, because what it kills stays dead.
func TestAClusterOutlivesItsLeaderAndThenItsQuorum(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all := members(t)
	endpoints := strings.Split(os.Getenv("ENDPOINTS"), ",")
	client := connect(t, endpoints...)

	// A lease and a watch that live through it.
	lease, err := client.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range kept {
		}
	}()
	first := leader(t, ctx, client)
	survivors := []string{}
	for _, endpoint := range endpoints {
		if endpoint != first {
			survivors = append(survivors, endpoint)
		}
	}
	watching := connect(t, endpoints...)
	events := watching.Watch(ctx, "counted/", clientv3.WithPrefix())

	kill(t, all[first])
	began := time.Now()
	const writes = 50
	acknowledged := 0
	for number := 0; number < writes; number++ {
		// The client asks another member by itself; what it can not know of is asked again, with the same outcome.
		for {
			try, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := client.Put(try, fmt.Sprintf("counted/%02d", number), "x", clientv3.WithLease(lease.ID))
			cancel()
			if err == nil {
				acknowledged++
				break
			}
			if time.Since(began) > patience {
				t.Fatalf("write %d: %v", number, err)
			}
		}
	}
	t.Logf("%d writes within %s of the leader's end", acknowledged, time.Since(began))
	found, err := client.Get(ctx, "counted/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || found.Count != writes {
		t.Fatalf("%d of %d writes are there: %v", found.Count, writes, err)
	}
	// Each at least once (an attempt that was not heard of may have written too), in order, none left out.
	seen, last := map[string]bool{}, int64(0)
	for len(seen) < writes {
		select {
		case answer, open := <-events:
			if !open || answer.Err() != nil {
				t.Fatalf("the watch ended: %v", answer.Err())
			}
			for _, event := range answer.Events {
				if event.Kv.ModRevision <= last {
					t.Fatalf("revision %d after %d", event.Kv.ModRevision, last)
				}
				last = event.Kv.ModRevision
				seen[string(event.Kv.Key)] = true
			}
		case <-time.After(patience):
			t.Fatalf("the watch has told of %d of %d writes", len(seen), writes)
		}
	}
	if left, err := client.TimeToLive(ctx, lease.ID); err != nil || left.TTL <= 0 {
		t.Fatalf("the lease is gone: %v", err)
	}

	// Without a quorum a survivor serves what needs none, and writes nothing.
	second := leader(t, ctx, connect(t, survivors...))
	last_one := survivors[0]
	if last_one == second {
		last_one = survivors[1]
	}
	alone := connect(t, last_one)
	if _, err := alone.Get(ctx, "counted/00"); err != nil {
		t.Fatal(err)
	}
	patient := alone.Watch(ctx, "counted/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if created := <-patient; !created.Created {
		t.Fatalf("no watch: %v", created.Err())
	}
	needy := alone.Watch(clientv3.WithRequireLeader(ctx), "counted/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if created := <-needy; !created.Created {
		t.Fatalf("no watch: %v", created.Err())
	}
	kill(t, all[second])
	if held, err := alone.Get(ctx, "counted/00", clientv3.WithSerializable()); err != nil || held.Count != 1 {
		t.Fatalf("a serializable read: %v", err)
	}
	short, done := context.WithTimeout(ctx, 3*time.Second)
	defer done()
	if _, err := alone.Get(short, "counted/00"); err == nil {
		t.Fatal("a linearizable read was answered without a quorum")
	}
	if _, err := alone.Put(short, "never", "x"); err == nil {
		t.Fatal("a write was acknowledged without a quorum")
	}
	// Who asked for a leader is told that there is none; who did not, waits on.
	select {
	case answer := <-needy:
		if !errors.Is(answer.Err(), rpctypes.ErrNoLeader) {
			t.Fatalf("a watch that requires a leader got %v", answer.Err())
		}
	case <-time.After(patience):
		t.Fatal("a watch that requires a leader goes on without one")
	}
	if answer := <-alone.Watch(clientv3.WithRequireLeader(ctx), "counted/"); !errors.Is(answer.Err(), rpctypes.ErrNoLeader) {
		t.Fatalf("a new watch that requires a leader got %v", answer.Err())
	}
	select {
	case answer := <-patient:
		t.Fatalf("a watch that requires no leader got %v", answer.Err())
	default:
	}
}
