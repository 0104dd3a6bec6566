package coffer

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A new store in a directory, sealed with a key file, and opened again.
func Example() {
	dir, err := os.MkdirTemp("", "coffer")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	key := filepath.Join(dir, "key")
	if err := GenerateKey(key); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	uri := "file://" + filepath.Join(dir, "store")
	store, err := Open(ctx, uri, WithKeyFile(key))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := store.Put(ctx, "greeting", []byte("hello")); err != nil {
		log.Fatal(err)
	}
	store.Close()

	_, err = Open(ctx, uri)
	fmt.Println("without the key:", errors.Is(err, ErrCannotOpen))

	store, err = Open(ctx, uri, WithKeyFile(key))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	kv, err := store.Get(ctx, "greeting")
	fmt.Println(string(kv.Value), err)
	// Output:
	// without the key: true
	// hello <nil>
}

func ExampleStore_Get() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	written, _ := store.Put(ctx, "colour", []byte("green"))
	store.Put(ctx, "colour", []byte("blue"))

	now, _ := store.Get(ctx, "colour")
	before, _ := store.Get(ctx, "colour", WithRevision(written.Revision))
	_, err := store.Get(ctx, "shape")
	fmt.Printf("%s, version %d; before: %s\n", now.Value, now.Version, before.Value)
	fmt.Println(errors.Is(err, ErrNotFound))
	// Output:
	// blue, version 2; before: green
	// true
}

func ExampleStore_Range() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	for _, user := range []string{"carol", "alice", "bob"} {
		store.Put(ctx, "users/"+user, []byte(user+"@example.org"))
	}
	for kv, err := range store.Range(ctx, Prefix("users/")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(kv.Key, string(kv.Value))
	}
	// Output:
	// users/alice alice@example.org
	// users/bob bob@example.org
	// users/carol carol@example.org
}

func ExampleStore_Txn() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	for _, name := range []string{"me", "you"} {
		answer, err := store.Txn().
			If(Missing("owner")).
			Then(OpPut("owner", []byte(name))).
			Else(OpGet("owner")).
			Commit(ctx)
		switch {
		case err != nil:
			log.Fatal(err)
		case answer.Succeeded:
			fmt.Printf("%s: mine\n", name)
		default:
			fmt.Printf("%s: taken by %s\n", name, answer.Answers[0].KVs[0].Value)
		}
	}
	// Output:
	// me: mine
	// you: taken by me
}

func ExampleStore_Update() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	for range 3 {
		err := store.Update(ctx, func(tx *Tx) error {
			kv, err := tx.Get("counter")
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			n, _ := strconv.Atoi(string(kv.Value))
			return tx.Put("counter", []byte(strconv.Itoa(n+1)))
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	kv, _ := store.Get(ctx, "counter")
	fmt.Println(string(kv.Value))
	// Output: 3
}

func ExampleStore_Watch() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	watch, err := store.Watch(ctx, Prefix("config/"))
	if err != nil {
		log.Fatal(err)
	}
	defer watch.Close()

	store.Put(ctx, "config/colour", []byte("green"))
	store.Delete(ctx, "config/colour")
	for event, err := range watch.Events() {
		if err != nil {
			log.Fatal(err)
		}
		if event.Type == EventDelete {
			fmt.Println("deleted:", event.KV.Key)
			break
		}
		fmt.Println("put:", event.KV.Key, string(event.KV.Value))
	}
	// Output:
	// put: config/colour green
	// deleted: config/colour
}

// What must be written by one at a time is written under the condition that the lock is held.
func ExampleSession_Lock() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	session, err := store.NewSession(ctx, WithTTL(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close(ctx)

	lock, err := session.Lock(ctx, "locks/report")
	if err != nil {
		log.Fatal(err)
	}
	answer, err := store.Txn().If(lock.Held()).Then(OpPut("report", []byte("ready"))).Commit(ctx)
	fmt.Println(answer.Succeeded, err)
	lock.Unlock(ctx)
	answer, err = store.Txn().If(lock.Held()).Then(OpPut("report", []byte("too late"))).Commit(ctx)
	fmt.Println(answer.Succeeded, err)
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleSession_Election() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	session, err := store.NewSession(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close(ctx)
	election := session.Election("elections/scheduler")
	if err := election.Campaign(ctx, []byte("node-1")); err != nil {
		log.Fatal(err)
	}
	leader, err := store.Leader(ctx, "elections/scheduler")
	fmt.Println(string(leader.Value), err)
	// Output: node-1 <nil>
}

func ExampleStore_Grant() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	lease, err := store.Grant(ctx, 30*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	store.Put(ctx, "online/node-1", nil, WithLease(lease.ID))
	keeper, err := store.KeepAlive(lease.ID)
	if err != nil {
		log.Fatal(err)
	}
	keeper.Close()
	store.Revoke(ctx, lease.ID)
	_, err = store.Get(ctx, "online/node-1")
	fmt.Println(errors.Is(err, ErrNotFound))
	// Output: true
}

func ExampleError() {
	ctx := context.Background()
	store, _ := Open(ctx, "mem:")
	defer store.Close()
	for range 3 {
		store.Put(ctx, "k", []byte("v"))
	}
	store.Compact(ctx, 4)
	_, err := store.Get(ctx, "k", WithRevision(2))

	var e *Error
	if errors.As(err, &e) && e.Code == ErrCompacted {
		fmt.Println("oldest readable revision:", e.CompactRevision)
	}
	switch {
	case errors.Is(err, ErrRetryable):
		fmt.Println("try again")
	case errors.Is(err, ErrMaybeCommitted):
		fmt.Println("look before you try again")
	default:
		fmt.Println("ask for something else")
	}
	// Output:
	// oldest readable revision: 4
	// ask for something else
}
