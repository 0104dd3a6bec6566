package coffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAPairIsPutReadAndDeleted(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, key := deadline(t), prefix(t)+"a"
		_, err := store.Get(ctx, key)
		equal(t, "before", err, error(ErrNotFound))
		first := put(t, store, key, "one")
		second := put(t, store, key, "two")
		kv, err := store.Get(ctx, key)
		check(t, err)
		equal(t, "pair", fmt.Sprint(kv), fmt.Sprint(KV{key, []byte("two"), first, second, 2, 0}))

		answer, err := store.Put(ctx, key, []byte("three"), WithPrevious())
		check(t, err)
		equal(t, "previous", string(answer.KVs[0].Value), "two")
		equal(t, "revision", answer.Revision, second+1)
		kv, err = store.Get(ctx, key, WithRevision(first))
		check(t, err)
		equal(t, "history", string(kv.Value), "one")

		answer, err = store.Delete(ctx, key, WithPrevious())
		check(t, err)
		equal(t, "deleted", answer.Count, 1)
		equal(t, "deleted pair", string(answer.KVs[0].Value), "three")
		_, err = store.Get(ctx, key)
		equal(t, "after", err, error(ErrNotFound))
		answer, err = store.Delete(ctx, key)
		check(t, err)
		equal(t, "deleted again", answer.Count, 0)
	})
}

func TestKeysAndValuesAreBinary(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		random := rand.New(rand.NewPCG(1, 2))
		large := make([]byte, 1<<20)
		for i := range large {
			large[i] = byte(random.Uint32())
		}
		values := map[string][]byte{
			"\x00":          {0},
			"a\x00b":        []byte("zero\x00inside"),
			"\xff\xfe":      {},
			"schlüssel-鍵-🔑": []byte("grüße"),
			"large":         large,
		}
		base := prefix(t)
		for key, value := range values {
			_, err := store.Put(deadline(t), base+key, value)
			check(t, err)
		}
		for key, value := range values {
			kv, err := store.Get(deadline(t), base+key)
			check(t, err)
			if kv.Key != base+key || !bytes.Equal(kv.Value, value) {
				t.Fatalf("%q came back as another pair", key)
			}
		}
		answer, err := store.Read(deadline(t), Prefix(base))
		check(t, err)
		equal(t, "pairs", len(answer.KVs), len(values))
		for _, kv := range answer.KVs {
			if !bytes.Equal(kv.Value, values[kv.Key[len(base):]]) {
				t.Fatalf("%q came back as another pair", kv.Key)
			}
		}
	})
}

func TestAReadTakesWhatItsOptionsSay(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, base := deadline(t), prefix(t)
		for _, key := range []string{"c", "a", "e", "b", "d"} {
			put(t, store, base+key, key)
		}
		last := put(t, store, base+"a", "again")
		keys := func(r KeyRange, options ...ReadOption) string {
			t.Helper()
			answer, err := store.Read(ctx, r, options...)
			check(t, err)
			var text string
			for _, kv := range answer.KVs {
				text += kv.Key[len(base):]
			}
			return text
		}
		all := Prefix(base)
		equal(t, "prefix", keys(all), "abcde")
		equal(t, "key", keys(Key(base+"c")), "c")
		equal(t, "between", keys(Between(base+"b", base+"d")), "bc")
		equal(t, "from", keys(From(base+"d"), WithLimit(1)), "d")
		equal(t, "limit", keys(all, WithLimit(2)), "ab")
		equal(t, "descending", keys(all, WithSortDescending(SortKey)), "edcba")
		equal(t, "by creation", keys(all, WithSort(SortCreateRevision)), "caebd")
		equal(t, "by change", keys(all, WithSort(SortModRevision)), "cebda")
		equal(t, "by value", keys(all, WithSort(SortValue)), "abcde")
		equal(t, "by version", keys(all, WithSortDescending(SortVersion), WithLimit(1)), "a")
		equal(t, "changed since", keys(all, WithModRevisions(last, 0)), "a")
		equal(t, "created until", keys(all, WithCreateRevisions(0, last-5)), "c")
		equal(t, "before", keys(all, WithRevision(last-5)), "c")
		equal(t, "serializable", keys(all, WithSerializable()), "abcde")

		answer, err := store.Read(ctx, all, WithLimit(2))
		check(t, err)
		equal(t, "more", answer.More, true)
		equal(t, "count", answer.Count, 5)
		answer, err = store.Read(ctx, all, WithCountOnly())
		check(t, err)
		equal(t, "count only", answer.Count == 5 && len(answer.KVs) == 0, true)
		answer, err = store.Read(ctx, all, WithKeysOnly(), WithLimit(1))
		check(t, err)
		equal(t, "keys only", len(answer.KVs[0].Value), 0)
	})
}

func TestARangeIsReadInPagesAtOneRevision(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, base := deadline(t), prefix(t)
		const keys, perTxn = 1200, 100
		value := bytes.Repeat([]byte("v"), 2000) // several pages
		for i := 0; i < keys; i += perTxn {
			txn := store.Txn()
			for j := i; j < i+perTxn; j++ {
				txn.Then(OpPut(fmt.Sprintf("%s%05d", base, j), value))
			}
			_, err := txn.Commit(ctx)
			check(t, err)
		}
		var count int
		for kv, err := range store.Range(ctx, Prefix(base)) {
			check(t, err)
			equal(t, "key", kv.Key, fmt.Sprintf("%s%05d", base, count))
			equal(t, "value", len(kv.Value), len(value))
			if count == 0 { // what happens now is not seen
				_, err := store.DeleteRange(ctx, From(fmt.Sprintf("%s%05d", base, keys/2)))
				check(t, err)
			}
			count++
		}
		equal(t, "keys", count, keys)

		everything := store.Range(ctx, Prefix(base), WithKeysOnly())
		for range 2 {
			count = 0
			for range everything {
				if count++; count == 10 {
					break
				}
			}
			equal(t, "left early", count, 10)
		}
		count = 0
		for kv, err := range store.Range(ctx, Prefix(base), WithLimit(7), WithKeysOnly()) {
			check(t, err)
			equal(t, "value", len(kv.Value), 0)
			count++
		}
		equal(t, "limited", count, 7)
	})
}

func TestARangeEndsWithItsContext(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		put(t, store, prefix(t), "v")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var errs []error
		for _, err := range store.Range(ctx, All()) {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
			t.Fatalf("got %v", errs)
		}
	})
}

func TestATransactionTakesOneOfItsBranches(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, base := deadline(t), prefix(t)
		lock := func(name string) Answer {
			answer, err := store.Txn().
				If(Missing(base + "lock")).
				Then(OpPut(base+"lock", []byte(name))).
				Else(OpGet(base + "lock")).
				Commit(ctx)
			check(t, err)
			return answer
		}
		equal(t, "first", lock("me").Succeeded, true)
		second := lock("you")
		equal(t, "second", second.Succeeded, false)
		equal(t, "holder", string(second.Answers[0].KVs[0].Value), "me")

		kv, err := store.Get(ctx, base+"lock")
		check(t, err)
		missing := base + "missing"
		for condition, holds := range map[*Condition]bool{
			ptr(Exists(base + "lock")):                                        true,
			ptr(Exists(missing)):                                              false,
			ptr(Version(base + "lock").Equals(1)):                             true,
			ptr(Version(base + "lock").Greater(1)):                            false,
			ptr(ModRevision(base + "lock").Equals(kv.ModRevision)):            true,
			ptr(ModRevision(base + "lock").Less(kv.ModRevision)):              false,
			ptr(CreateRevision(base + "lock").NotEquals(0)):                   true,
			ptr(LeaseOf(base + "lock").Equals(0)):                             true,
			ptr(Value(base + "lock").Equals([]byte("me"))):                    true,
			ptr(Value(base + "lock").NotEquals([]byte("me"))):                 false,
			ptr(Value(base + "lock").Greater([]byte("ma"))):                   true,
			ptr(Value(base + "lock").Less([]byte("ma"))):                      false,
			ptr(Value(missing).Equals(nil)):                                   false,
			ptr(ModRevision(Prefix(base)).Less(kv.ModRevision + 1)):           true,
			ptr(ModRevision(Between(base, base+"z")).Greater(kv.ModRevision)): false,
		} {
			answer, err := store.Txn().If(*condition).Commit(ctx)
			check(t, err)
			equal(t, fmt.Sprintf("%+v", *condition), answer.Succeeded, holds)
		}
	})
}

func ptr[T any](it T) *T { return &it }

func TestTransactionsNestAndAnswerInOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, base := deadline(t), prefix(t)
		put(t, store, base+"old", "1")
		inner := store.Txn().If(Exists(base + "new")).
			Then(OpPut(base+"inner", []byte("then"))).
			Else(OpPut(base+"inner", []byte("else"), WithPrevious()))
		txn := store.Txn().Then(
			OpPut(base+"new", []byte("2")),
			OpGet(Prefix(base)),
			OpDelete(Prefix(base+"old"), WithPrevious()),
			OpTxn(inner),
			OpGet(Prefix(base)),
		)
		answer, err := txn.Commit(ctx)
		check(t, err)
		equal(t, "answers", len(answer.Answers), 5)
		equal(t, "sees what was put before", answer.Answers[1].Count, 2)
		equal(t, "deleted", answer.Answers[2].Count, 1)
		equal(t, "deleted pair", string(answer.Answers[2].KVs[0].Value), "1")
		equal(t, "conditions look at what was before", answer.Answers[3].Succeeded, false)
		equal(t, "left", answer.Answers[4].Count, 2)
		equal(t, "inner", get(t, store, base+"inner"), "else")
		for _, kv := range answer.Answers[4].KVs {
			equal(t, "one revision", kv.ModRevision, answer.Revision)
		}
		again, err := txn.Commit(ctx) // it can be committed again
		check(t, err)
		equal(t, "again", again.Answers[3].Succeeded, true)

		_, err = store.Txn().Then(OpPut(base+"twice", nil), OpPut(base+"twice", nil)).Commit(ctx)
		if !errors.Is(err, ErrDuplicateKey) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestConcurrentWritersGetRevisionsOfTheirOwn(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		const writers, writes = 16, 20
		base := prefix(t)
		revisions := make(chan int64, writers*writes)
		failures := make(chan error, writers)
		for w := range writers {
			go func() {
				for i := range writes {
					answer, err := store.Put(context.Background(), fmt.Sprintf("%s%d/%d", base, w, i), []byte("v"))
					if err != nil {
						failures <- err
						return
					}
					revisions <- answer.Revision
				}
				failures <- nil
			}()
		}
		for range writers {
			check(t, <-failures)
		}
		close(revisions)
		var all []int64
		for revision := range revisions {
			all = append(all, revision)
		}
		slices.Sort(all)
		equal(t, "revisions", len(slices.Compact(all)), writers*writes)
		answer, err := store.Read(deadline(t), Prefix(base), WithCountOnly())
		check(t, err)
		equal(t, "keys", answer.Count, writers*writes)
	})
}
