package coffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

func watch(t testing.TB, store *Store, keys KeyRange, options ...WatchOption) *Watch {
	t.Helper()
	w, err := store.Watch(deadline(t), keys, options...)
	check(t, err)
	t.Cleanup(w.Close)
	return w
}

// events takes so many events.
func events(t testing.TB, w *Watch, count int) []Event {
	t.Helper()
	var all []Event
	for len(all) < count {
		batch, err := w.Next()
		check(t, err)
		all = append(all, batch.Events...)
	}
	equal(t, "events", len(all), count)
	return all
}

func TestAWatchDeliversWhatHappensAfterItsBegin(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		put(t, store, base+"before", "v")
		w := watch(t, store, Prefix(base), WithPrevious())
		created := put(t, store, base+"a", "one")
		changed := put(t, store, base+"a", "two")
		put(t, store, "elsewhere", "v")
		answer, err := store.Delete(deadline(t), base+"a")
		check(t, err)
		got := events(t, w, 3)
		equal(t, "created", got[0].IsCreate() && got[0].Previous == nil && got[0].KV.ModRevision == created, true)
		equal(t, "changed", got[1].Type == EventPut && !got[1].IsCreate() && got[1].KV.ModRevision == changed, true)
		equal(t, "value", string(got[1].KV.Value), "two")
		equal(t, "value before", string(got[1].Previous.Value), "one")
		equal(t, "deleted", got[2].Type == EventDelete && got[2].KV.ModRevision == answer.Revision, true)
		equal(t, "deleted key", got[2].KV.Key, base+"a")
		equal(t, "deleted value", string(got[2].Previous.Value), "two")
	})
}

func TestAWatchDeliversHistoryAndSaysFromWhereToGoOn(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		first := put(t, store, base+"a", "1")
		_, err := store.Txn().Then(OpPut(base+"b", nil), OpPut(base+"c", nil)).Commit(deadline(t))
		check(t, err)
		last := put(t, store, base+"d", "4")
		got := events(t, watch(t, store, Prefix(base), WithRevision(first)), 4)
		equal(t, "first", got[0].KV.ModRevision, first)
		equal(t, "last", got[3].KV.ModRevision, last)

		w := watch(t, store, Prefix(base), WithRevision(first))
		var batch Batch
		for batch.Revision < last {
			batch, err = w.Next()
			check(t, err)
		}
		put(t, store, base+"e", "5")
		equal(t, "went on", events(t, watch(t, store, Prefix(base), WithRevision(batch.Resume)), 1)[0].KV.Key, base+"e")
	})
}

func TestAWatchLeavesOutWhatItIsNotAskedFor(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		first := put(t, store, base+"a", "v")
		_, err := store.Delete(deadline(t), base+"a")
		check(t, err)
		put(t, store, base+"end", "v")
		_, err = store.Delete(deadline(t), base+"end")
		check(t, err)
		for _, event := range events(t, watch(t, store, Prefix(base), WithRevision(first), WithoutPuts()), 2) {
			equal(t, "type", event.Type, EventDelete)
		}
		for _, event := range events(t, watch(t, store, Prefix(base), WithRevision(first), WithoutDeletes()), 2) {
			equal(t, "type", event.Type, EventPut)
		}
	})
}

func TestAWatchTellsOfProgressWhenItIsAsked(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		w := watch(t, store, Prefix(base))
		now := put(t, store, base[:len(base)-1], "not watched")
		check(t, w.RequestProgress())
		batch, err := w.Next()
		check(t, err)
		equal(t, "events", len(batch.Events), 0)
		equal(t, "told of everything", batch.Revision >= now, true)
		equal(t, "goes on behind it", batch.Resume, batch.Revision+1)
	})
}

func TestAWatchSaysThatItsHistoryWasCompacted(t *testing.T) {
	for _, p := range places()[:3] { // a daemon's store may be others' too
		t.Run(p.name, func(t *testing.T) {
			store := p.open(t)
			var last int64
			for range 5 {
				last = put(t, store, "k", "v")
			}
			check(t, store.Compact(deadline(t), last))
			w, err := store.Watch(deadline(t), All(), WithRevision(2))
			if err == nil {
				_, err = w.Next()
			}
			var e *Error
			if !errors.Is(err, ErrCompacted) || !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			equal(t, "oldest", e.CompactRevision, last)
			equal(t, "event", events(t, watch(t, store, All(), WithRevision(e.CompactRevision)), 1)[0].KV.ModRevision, last)
		})
	}
}

func TestASlowConsumerMissesNothingAndSeesNothingTwice(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		ctx, base := deadline(t), prefix(t)
		w := watch(t, store, Prefix(base), WithFragments())
		const rounds, perTxn = 40 * watchBacklogMax / 10, 10
		value := bytes.Repeat([]byte("v"), 500)
		var rested bool
		for i := range rounds {
			txn := store.Txn()
			for j := range perTxn {
				txn.Then(OpPut(fmt.Sprintf("%s%d/%d", base, i, j), value))
			}
			_, err := txn.Commit(ctx)
			check(t, err)
			w.mu.Lock()
			rested = rested || w.resting
			equal(t, "bounded", len(w.backlog) < watchBacklogMax+16, true)
			w.mu.Unlock()
		}
		t.Logf("the watch rested: %v", rested)
		var seen int
		for _, event := range events(t, w, rounds*perTxn) {
			equal(t, "key", event.KV.Key, fmt.Sprintf("%s%d/%d", base, seen/perTxn, seen%perTxn))
			seen++
		}
		put(t, store, base+"end", "v")
		equal(t, "end", events(t, w, 1)[0].KV.Key, base+"end")
	})
}

func TestAWatchRestsWhileNobodyTakes(t *testing.T) {
	store := openStore(t, "mem:")
	w := watch(t, store, All())
	var writes int
	for limit := time.Now().Add(patience); ; writes++ {
		w.mu.Lock()
		rests := w.resting && !w.running
		w.mu.Unlock()
		if rests {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("after %d writes it does not", writes)
		}
		put(t, store, "k", "v")
	}
	put(t, store, "k", "last")
	var version int64
	for version < int64(writes)+1 {
		batch, err := w.Next()
		check(t, err)
		for _, event := range batch.Events {
			version++
			equal(t, "version", event.KV.Version, version)
		}
	}
}

func TestAWatchEndsWithCloseContextAndStore(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			store, err := Open(deadline(t), p.uri(t), p.options...)
			check(t, err)
			defer store.Close()
			ended := func(w *Watch) chan error {
				next := make(chan error, 1)
				go func() {
					_, err := w.Next()
					next <- err
				}()
				return next
			}
			closed := watch(t, store, All())
			next := ended(closed)
			closed.Close()
			equal(t, "closed", <-next, ErrWatchClosed)
			for _, err := range closed.Batches() {
				t.Fatalf("a closed watch yields %v", err)
			}

			ctx, cancel := context.WithCancel(context.Background())
			canceled, err := store.Watch(ctx, Prefix(prefix(t)))
			check(t, err)
			next = ended(canceled)
			cancel()
			if err := <-next; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCanceled) {
				t.Fatalf("the context ended: %v", err)
			}

			stopped := watch(t, store, Prefix(prefix(t)))
			next = ended(stopped)
			check(t, store.Close())
			if err := <-next; !errors.Is(err, ErrStopped) {
				t.Fatalf("the store was closed: %v", err)
			}
			if err := stopped.Err(); !errors.Is(err, ErrStopped) {
				t.Fatalf("the store was closed: %v", err)
			}
		})
	}
}

func TestEventsGoOnBehindTheOneThatWasLeftAt(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		w := watch(t, store, Prefix(base))
		_, err := store.Txn().Then(OpPut(base+"a", nil), OpPut(base+"b", nil), OpPut(base+"c", nil)).Commit(deadline(t))
		check(t, err)
		for _, name := range []string{"a", "b", "c"} {
			for event, err := range w.Events() {
				check(t, err)
				equal(t, "key", event.KV.Key, base+name)
				break
			}
		}
	})
}

func TestAWatchHasAChannel(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		base := prefix(t)
		w := watch(t, store, Prefix(base))
		batches := w.Chan()
		put(t, store, base+"a", "v")
		select {
		case batch := <-batches:
			equal(t, "key", batch.Events[0].KV.Key, base+"a")
		case <-time.After(patience):
			t.Fatal("nothing came")
		}
		put(t, store, base+"b", "nobody takes it")
		w.Close()
		eventually(t, "the channel is closed", func() bool {
			select {
			case _, open := <-batches:
				return !open
			default:
				return false
			}
		})
		check(t, w.Err())
	})
}

func TestAWatchSurvivesTheRestartOfItsDaemon(t *testing.T) {
	if remoteProgram == "" {
		t.Skip("SKIPPED: needs COFFER_TEST_PROGRAM")
	}
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port that both daemons have
	check(t, err)
	listen := "coffer://" + listener.Addr().String()
	listener.Close()
	first, err := startDaemon(dir, listen)
	check(t, err)
	stop := first.stop
	defer func() { stop() }()

	watcher, writer := openStore(t, first.uri), openStore(t, first.uri)
	w := watch(t, watcher, Prefix("k/"))
	const writes = 20
	for i := range writes {
		put(t, writer, fmt.Sprintf("k/%02d", i), "before")
	}
	equal(t, "before", len(events(t, w, writes/2)), writes/2)
	stop()
	second, err := startDaemon(dir, listen)
	check(t, err)
	stop = second.stop
	eventually(t, "the writer is connected again", func() bool {
		_, err := writer.Put(deadline(t), "k/99", []byte("after"))
		return err == nil
	})
	got := events(t, w, writes/2+1)
	for i, event := range got[:writes/2] {
		equal(t, "key", event.KV.Key, fmt.Sprintf("k/%02d", writes/2+i))
	}
	equal(t, "key", got[writes/2].KV.Key, "k/99")
}
