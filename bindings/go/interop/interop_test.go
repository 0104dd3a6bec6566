// Package interop has locks and elections of this package and of etcd's concurrency package meet on one daemon, which
// serves both.
package interop

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// serve starts a daemon, and opens it both ways.
func serve(t *testing.T) (*coffer.Store, *clientv3.Client) {
	t.Helper()
	daemon := exec.Command(os.Getenv("COFFER_TEST_PROGRAM"), "serve", "--unsealed", "--data-dir", t.TempDir(),
		"--listen-client-urls", "coffer://127.0.0.1:0,http://127.0.0.1:0")
	daemon.Stderr = os.Stderr
	output, err := daemon.StdoutPipe()
	check(t, err)
	check(t, daemon.Start())
	t.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
	})
	var urls []string
	for lines := bufio.NewScanner(output); urls == nil && lines.Scan(); {
		if _, listen, ready := strings.Cut(lines.Text(), "listen="); ready {
			urls = strings.Split(strings.Fields(listen)[0], ",")
		}
	}
	if len(urls) != 2 {
		t.Fatalf("the daemon listens at %v", urls)
	}
	store, err := coffer.Open(context.Background(), urls[0])
	check(t, err)
	t.Cleanup(func() { store.Close() })
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{urls[1]}, DialTimeout: 10 * time.Second})
	check(t, err)
	t.Cleanup(func() { client.Close() })
	return store, client
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ours(t *testing.T, store *coffer.Store) *coffer.Session {
	t.Helper()
	session, err := store.NewSession(context.Background())
	check(t, err)
	return session
}

func theirs(t *testing.T, client *clientv3.Client) *concurrency.Session {
	t.Helper()
	session, err := concurrency.NewSession(client)
	check(t, err)
	return session
}

func TestLocksOfBothExcludeEachOther(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, client := serve(t)

	mutex := concurrency.NewMutex(theirs(t, client), "locks/a")
	check(t, mutex.Lock(ctx))
	session := ours(t, store)
	if _, err := session.TryLock(ctx, "locks/a"); err != coffer.ErrLocked {
		t.Fatalf("while etcd's client holds it: %v", err)
	}
	check(t, mutex.Unlock(ctx))
	lock, err := session.Lock(ctx, "locks/a")
	check(t, err)
	if err := mutex.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("while we hold it: %v", err)
	}
	check(t, lock.Unlock(ctx))

	var inside, counter atomic.Int64
	var group sync.WaitGroup
	const each, rounds = 4, 5
	work := func(acquire func() (release func() error, err error)) {
		defer group.Done()
		for range rounds {
			release, err := acquire()
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two hold it")
			}
			counter.Add(1)
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			if err := release(); err != nil {
				t.Error(err)
			}
		}
	}
	for range each {
		group.Add(2)
		session, mutex := ours(t, store), concurrency.NewMutex(theirs(t, client), "locks/b")
		go work(func() (func() error, error) {
			lock, err := session.Lock(ctx, "locks/b")
			return func() error { return lock.Unlock(ctx) }, err
		})
		go work(func() (func() error, error) {
			return func() error { return mutex.Unlock(ctx) }, mutex.Lock(ctx)
		})
	}
	group.Wait()
	if counted := counter.Load(); counted != 2*each*rounds {
		t.Fatalf("counted %d", counted)
	}
}

func TestElectionsOfBothHaveOneLeader(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, client := serve(t)

	election := concurrency.NewElection(theirs(t, client), "elections/a")
	check(t, election.Campaign(ctx, "theirs"))
	leader, err := store.Leader(ctx, "elections/a")
	check(t, err)
	if string(leader.Value) != "theirs" || leader.Key != election.Key() || leader.CreateRevision != election.Rev() {
		t.Fatalf("we see %v", leader)
	}
	mine := ours(t, store).Election("elections/a")
	leads := make(chan error, 1)
	go func() { leads <- mine.Campaign(ctx, []byte("ours")) }()
	select {
	case err := <-leads:
		t.Fatalf("two lead: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	check(t, election.Resign(ctx))
	check(t, <-leads)
	seen, err := election.Leader(ctx)
	check(t, err)
	if string(seen.Kvs[0].Value) != "ours" || seen.Kvs[0].CreateRevision != mine.Token() {
		t.Fatalf("they see %v", seen.Kvs[0])
	}
}
