package coffer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCountersThatManyUpdateAreExact(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		const writers, rounds = 8, 15
		key := prefix(t) + "counter"
		var attempts atomic.Int64
		var group sync.WaitGroup
		for range writers {
			group.Add(1)
			go func() {
				defer group.Done()
				for range rounds {
					err := store.Update(context.Background(), func(tx *Tx) error {
						attempts.Add(1)
						kv, err := tx.Get(key)
						if err != nil && !errors.Is(err, ErrNotFound) {
							return err
						}
						n, _ := strconv.Atoi(string(kv.Value))
						return tx.Put(key, []byte(strconv.Itoa(n+1)))
					})
					if err != nil {
						t.Error(err)
					}
				}
			}()
		}
		group.Wait()
		equal(t, "counter", get(t, store, key), strconv.Itoa(writers*rounds))
		t.Logf("%d attempts for %d updates", attempts.Load(), writers*rounds)
	})
}

func TestAnUpdateSeesItsOwnWrites(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		for _, key := range []string{"a", "b", "c"} {
			put(t, store, base+key, "old")
		}
		err := store.Update(deadline(t), func(tx *Tx) error {
			check(t, tx.Put(base+"bb", []byte("new")))
			check(t, tx.Put(base+"a", []byte("changed")))
			check(t, tx.Delete(base+"c"))
			if _, err := tx.Get(base + "c"); err != ErrNotFound {
				t.Errorf("a deleted key: %v", err)
			}
			var seen string
			for kv, err := range tx.Range(Prefix(base)) {
				if err != nil {
					return err
				}
				seen += fmt.Sprintf("%s=%s ", kv.Key[len(base):], kv.Value)
			}
			equal(t, "seen", seen, "a=changed b=old bb=new ")
			return nil
		})
		check(t, err)
		answer, err := store.Read(deadline(t), Prefix(base))
		check(t, err)
		equal(t, "keys", answer.Count, 3)
		equal(t, "one revision", answer.KVs[0].ModRevision, answer.KVs[2].ModRevision)
	})
}

// Each of two updates looks at what the other one writes: one of them must see it.
func TestAnUpdateDependsOnTheRangesThatItRead(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		put(t, store, base+"doctors/a", "on call")
		put(t, store, base+"doctors/b", "on call")
		disturb := map[string]func(){
			"a key came":    func() { put(t, store, base+"doctors/c", "on call") },
			"a key changed": func() { put(t, store, base+"doctors/b", "away") },
			"a key went": func() {
				_, err := store.Delete(deadline(t), base+"doctors/b")
				check(t, err)
			},
		}
		for what, happens := range disturb {
			attempts := 0
			err := store.Update(deadline(t), func(tx *Tx) error {
				count := 0
				for _, err := range tx.Range(Prefix(base + "doctors/")) {
					if err != nil {
						return err
					}
					count++
				}
				if attempts++; attempts == 1 {
					happens()
				}
				return tx.Put(base+"count", []byte(strconv.Itoa(count)))
			})
			check(t, err)
			equal(t, what+": attempts", attempts, 2)
		}
		equal(t, "count", get(t, store, base+"count"), strconv.Itoa(int(count(t, store, base+"doctors/"))))
	})
}

func count(t testing.TB, store *Store, prefix string) int64 {
	t.Helper()
	answer, err := store.Read(deadline(t), Prefix(prefix), WithCountOnly())
	check(t, err)
	return answer.Count
}

func TestAnUpdateThatFailsWritesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		key := prefix(t) + "key"
		failure := errors.New("no")
		err := store.Update(deadline(t), func(tx *Tx) error {
			check(t, tx.Put(key, []byte("v")))
			return failure
		})
		equal(t, "error", err, failure)
		_, err = store.Get(deadline(t), key)
		equal(t, "key", err, error(ErrNotFound))
		if err := store.Update(deadline(t), func(tx *Tx) error { return tx.Put("", nil) }); !errors.Is(err, ErrEmptyKey) {
			t.Fatalf("an empty key: %v", err)
		}
	})
}

func TestAnUpdateEndsWithItsContext(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		key := prefix(t) + "key"
		ctx, cancel := context.WithCancel(context.Background())
		attempts := 0
		err := store.Update(ctx, func(tx *Tx) error {
			if _, err := tx.Get(key); err != nil && err != ErrNotFound {
				return err
			}
			put(t, store, key, "another was quicker")
			if attempts++; attempts == 3 {
				cancel()
			}
			return tx.Put(key, nil)
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	})
}
