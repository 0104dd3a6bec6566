package coffer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		now := put(t, store, prefix(t), "v")
		_, err := store.Get(deadline(t), "k", WithRevision(now+1_000_000))
		var e *Error
		if !errors.Is(err, ErrFutureRevision) || !errors.As(err, &e) {
			t.Fatalf("got %v", err)
		}
		equal(t, "group", e.Group(), GroupFixRequest)
		equal(t, "call", e.Call, "coffer_get")
		equal(t, "message", e.Message != "" && strings.Contains(err.Error(), e.Message), true)
		equal(t, "retryable", errors.Is(err, ErrRetryable) || e.Retryable(), false)
		equal(t, "maybe committed", errors.Is(err, ErrMaybeCommitted) || e.MaybeCommitted(), false)

		if _, err := store.Put(deadline(t), "", nil); !errors.Is(err, ErrEmptyKey) {
			t.Fatalf("an empty key: %v", err)
		}
		if _, err := store.Put(deadline(t), "k", make([]byte, 80<<20)); !errors.Is(err, ErrRequestTooLarge) {
			t.Fatalf("a huge value: %v", err)
		}
	})
}

func TestCodesHaveGroups(t *testing.T) {
	for _, c := range []struct {
		code                      Code
		group                     Group
		retryable, maybeCommitted bool
	}{
		{ErrNotFound, GroupNone, false, false},
		{ErrCompacted, GroupFixRequest, false, false},
		{ErrUnauthenticated, GroupAuthenticate, false, false},
		{ErrTimeout, GroupRetry, true, false},
		{ErrOutcomeUnknown, GroupOutcomeUnknown, false, true},
		{ErrFatal, GroupStopNode, false, true}, // it may have been about to be acknowledged
		{ErrPoisoned, GroupStopNode, false, false},
	} {
		for _, err := range []error{c.code, fmt.Errorf("wrapped: %w", &Error{Code: c.code})} {
			equal(t, c.code.Error()+": group", c.code.Group(), c.group)
			equal(t, c.code.Error()+": retryable", errors.Is(err, ErrRetryable), c.retryable)
			equal(t, c.code.Error()+": maybe committed", errors.Is(err, ErrMaybeCommitted), c.maybeCommitted)
		}
	}
	equal(t, "words", ErrLeaseTTLTooLarge.Error(), "coffer: lease ttl too large")
}

func TestACallWhoseContextIsOverDoesNotBegin(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		key := prefix(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for what, err := range map[string]error{
			"put":    second(store.Put(ctx, key, nil)),
			"get":    second(store.Get(ctx, key)),
			"txn":    second(store.Txn().Then(OpPut(key, nil)).Commit(ctx)),
			"watch":  second(store.Watch(ctx, Key(key))),
			"status": second(store.Status(ctx)),
			"open":   second(Open(ctx, "mem:")),
		} {
			if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCanceled) || errors.Is(err, ErrMaybeCommitted) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := store.Get(deadline(t), key)
		equal(t, "key", err, error(ErrNotFound))
	})
}

func second[T any](_ T, err error) error { return err }

// Whether a put that is cancelled on its way happened, the answer tells, or says that it cannot tell.
func TestACancelledCallTellsWhetherItHappened(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		outcomes := map[string]int{}
		for i := range 200 {
			ctx, cancel := context.WithCancel(context.Background())
			key := fmt.Sprintf("%s%d", base, i)
			go func() {
				time.Sleep(time.Duration(i) * 10 * time.Microsecond)
				cancel()
			}()
			_, err := store.Put(ctx, key, nil)
			cancel()
			outcome := "done"
			switch {
			case errors.Is(err, ErrMaybeCommitted):
				outcome = "unknown"
			case errors.Is(err, ErrCanceled):
				outcome = "not done"
			case err != nil:
				t.Fatal(err)
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("no word of the context: %v", err)
			}
			outcomes[outcome]++
			if _, err := store.Get(deadline(t), key); outcome == "done" && err != nil || outcome == "not done" && err != ErrNotFound {
				t.Fatalf("%s, but: %v", outcome, err)
			}
		}
		t.Log(outcomes)
	})
}

func TestACallEndsWithItsDeadline(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
		defer cancel()
		<-ctx.Done()
		if _, err := store.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if _, err := store.Put(ctx, "k", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestAClosedStoreSaysSo(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			store, err := Open(deadline(t), p.uri(t), p.options...)
			check(t, err)
			key := prefix(t)
			put(t, store, key, "v")
			var group sync.WaitGroup
			for i := range 8 { // calls that are under way end
				group.Add(1)
				go func() {
					defer group.Done()
					for {
						_, err := store.Put(context.Background(), key, nil)
						if i%2 == 0 {
							_, err = store.Get(context.Background(), key)
						}
						if errors.Is(err, ErrStopped) {
							return
						}
						if err != nil && !errors.Is(err, ErrMaybeCommitted) {
							t.Errorf("while it closes: %v", err)
							return
						}
					}
				}()
			}
			time.Sleep(20 * time.Millisecond)
			check(t, store.Close())
			group.Wait()
			check(t, store.Close())
			for what, err := range map[string]error{
				"put":     second(store.Put(deadline(t), key, nil)),
				"get":     second(store.Get(deadline(t), key)),
				"watch":   second(store.Watch(deadline(t), Key(key))),
				"session": second(store.NewSession(deadline(t))),
				"update":  store.Update(deadline(t), func(tx *Tx) error { return tx.Put(key, nil) }),
			} {
				if !errors.Is(err, ErrStopped) {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, err := range store.Range(deadline(t), All()) {
				if !errors.Is(err, ErrStopped) {
					t.Errorf("range: %v", err)
				}
			}
		})
	}
}

func TestADirectoryIsOpenOnceAndOpensAgain(t *testing.T) {
	for _, p := range places()[1:3] {
		t.Run(p.name, func(t *testing.T) {
			uri := p.uri(t)
			store, err := Open(deadline(t), uri, p.options...)
			check(t, err)
			put(t, store, "k", "kept")
			_, err = Open(deadline(t), uri, p.options...)
			if !errors.Is(err, ErrCannotOpen) || !strings.Contains(err.Error(), "in use") {
				t.Fatalf("a second opening: %v", err)
			}
			check(t, store.Close())
			again := openStore(t, uri, p.options...)
			equal(t, "value", get(t, again, "k"), "kept")
		})
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, o := range []Option{
		WithOption("no-such-option", "1"),
		WithOption("quota-backend-bytes", "much"),
		WithBackend("paper"),
		WithOption("zero\x00byte", "1"),
	} {
		if _, err := Open(deadline(t), "mem:", o); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%v: %v", o, err)
		}
	}
	if _, err := Open(deadline(t), "nowhere://x"); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("an unknown scheme: %v", err)
	}
	if _, err := Open(deadline(t), inDirectory(t)); err == nil {
		t.Error("a new store that nobody says the seal of")
	}
	if _, err := Open(deadline(t), inDirectory(t), WithoutSeal(), WithCreate(false)); !errors.Is(err, ErrCannotOpen) {
		t.Errorf("no store, and none to be made: %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Open(ctx, "coffer://127.0.0.1:1", WithCommandTimeout(2*time.Second)) // nobody is there
	if err == nil || time.Since(began) > patience {
		t.Fatalf("got %v after %v", err, time.Since(began))
	}
}

func TestAStoreTellsHowItIs(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			store := p.open(t)
			ctx, key := deadline(t), prefix(t)
			revision := put(t, store, key, "v")
			status, err := store.Status(ctx)
			check(t, err)
			equal(t, "version", status.Version, LibraryVersion())
			equal(t, "revision", status.Revision >= revision, true)
			equal(t, "leader", status.Leader, status.MemberID)
			equal(t, "keys", status.Keys > 0, true)
			equal(t, "errors", len(status.Errors), 0)
			switch p.name {
			case "mem":
				equal(t, "backend", status.Backend, "memory")
			case "segment", "sqlite":
				equal(t, "backend", status.Backend, p.name)
				equal(t, "sealed", status.Sealed, true)
			}
			one, err := store.Hash(ctx, revision)
			check(t, err)
			put(t, store, key, "w")
			two, err := store.Hash(ctx, revision)
			check(t, err)
			equal(t, "hash of one revision", one, two)
			newest, err := store.Hash(ctx, 0)
			check(t, err)
			equal(t, "hash of another", newest.Hash != one.Hash && newest.Revision > one.Revision, true)
			members, err := store.Members(ctx)
			check(t, err)
			equal(t, "members", len(members) > 0 && members[0].ID != 0, true)
		})
	}
}

func TestCompactionForgetsOldRevisions(t *testing.T) {
	for _, p := range places()[:3] {
		t.Run(p.name, func(t *testing.T) {
			store := p.open(t)
			first := put(t, store, "k", "old")
			last := put(t, store, "k", "new")
			check(t, store.CompactAndReclaim(deadline(t), last))
			if _, err := store.Get(deadline(t), "k", WithRevision(first)); !errors.Is(err, ErrCompacted) {
				t.Fatalf("got %v", err)
			}
			if err := store.Compact(deadline(t), last); !errors.Is(err, ErrCompacted) {
				t.Fatalf("again: %v", err)
			}
			equal(t, "value", get(t, store, "k"), "new")
		})
	}
}

func TestSnapshotsAreSavedReadAndRestored(t *testing.T) {
	for _, p := range places()[1:3] {
		t.Run(p.name, func(t *testing.T) {
			store := p.open(t)
			for i := range 50 {
				put(t, store, fmt.Sprintf("k/%02d", i), "secret-value")
			}
			path := filepath.Join(t.TempDir(), "snapshot")
			saved, err := store.SaveSnapshot(deadline(t), path)
			check(t, err)
			put(t, store, "k/later", "v")
			read, err := ReadSnapshot(deadline(t), path, WithKeyFile(keyFile()))
			check(t, err)
			equal(t, "revision", read.Revision, saved.Revision)
			equal(t, "sealed", read.Sealed, true)
			equal(t, "age", time.Since(read.Created) < time.Hour, true)
			bytes, err := os.ReadFile(path)
			check(t, err)
			equal(t, "in the clear", strings.Contains(string(bytes), "secret-value"), false)
			if _, err := store.SaveSnapshot(deadline(t), path); !errors.Is(err, ErrCannotOpen) {
				t.Fatalf("over another one: %v", err)
			}
			dir := filepath.Join(t.TempDir(), "restored")
			restored, err := RestoreSnapshot(deadline(t), path, dir, WithKeyFile(keyFile()))
			check(t, err)
			equal(t, "keys", restored.Keys, 50)
			again := openStore(t, "file://"+dir, WithKeyFile(keyFile()))
			equal(t, "keys", count(t, again, "k/"), 50)
			hash, err := again.Hash(deadline(t), 0)
			check(t, err)
			equal(t, "hash", hash.Hash, restored.Hash)
		})
	}
}

func TestASealedStoreOpensWithItsKeysOnly(t *testing.T) {
	for _, p := range places()[1:3] {
		t.Run(p.name, func(t *testing.T) {
			ctx, uri := deadline(t), p.uri(t)
			store, err := Open(ctx, uri, p.options...)
			check(t, err)
			put(t, store, "plain-key", "plain-value")
			keys, err := store.AddKey(ctx, WithPassphrase("correct horse"), "for people")
			check(t, err)
			equal(t, "slots", len(keys.Slots), 2)
			equal(t, "label", keys.Slots[1].Label, "for people")
			equal(t, "kind", keys.Slots[1].Kind, "passphrase")
			rotated, err := store.RotateDataKey(ctx, true)
			check(t, err)
			put(t, store, "after", "v")
			eventually(t, "older data keys are gone", func() bool {
				keys, err := store.Keys(ctx)
				check(t, err)
				return !keys.Rewriting && len(keys.DataKeys) == 1 && keys.DataKeys[0].ID == rotated.Changed
			})
			other := filepath.Join(t.TempDir(), "key")
			check(t, GenerateKey(other))
			_, err = store.ReplaceKey(ctx, keys.Slots[0].ID, WithKeyFile(other))
			check(t, err)
			check(t, store.Close())

			if _, err := Open(ctx, uri, p.options...); !errors.Is(err, ErrCannotOpen) {
				t.Fatalf("the key that was replaced: %v", err)
			}
			if _, err := Open(ctx, uri, WithPassphrase("wrong horse")); !errors.Is(err, ErrCannotOpen) {
				t.Fatalf("a wrong passphrase: %v", err)
			}
			for _, key := range []Option{WithPassphrase("correct horse"), WithKeyFile(other)} {
				store, err := Open(ctx, uri, key)
				check(t, err)
				equal(t, "value", get(t, store, "plain-key"), "plain-value")
				check(t, store.Close())
			}
			store, err = Open(ctx, uri, WithKeyFile(other))
			check(t, err)
			defer store.Close()
			_, err = store.RemoveKey(ctx, keys.Slots[1].ID)
			check(t, err)
			if _, err := store.RemoveKey(ctx, keys.Slots[0].ID); !errors.Is(err, ErrCannotOpen) {
				t.Fatalf("the last key: %v", err)
			}
			check(t, filepath.WalkDir(strings.TrimPrefix(uri, "file://"), func(path string, entry os.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				bytes, err := os.ReadFile(path)
				if strings.Contains(string(bytes), "plain-key") || strings.Contains(string(bytes), "plain-value") {
					t.Errorf("in the clear in %s", path)
				}
				return err
			}))
		})
	}
	if _, err := openStore(t, "mem:").Keys(deadline(t)); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("of a store that nothing seals: %v", err)
	}
}
