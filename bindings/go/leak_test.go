package coffer

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
)

// entries counts what a directory of /proc lists: threads, descriptors.
func entries(t testing.TB, dir string) int {
	t.Helper()
	found, err := os.ReadDir(dir)
	check(t, err)
	return len(found)
}

func threads(t testing.TB) int     { return entries(t, "/proc/self/task") }
func descriptors(t testing.TB) int { return entries(t, "/proc/self/fd") }

// use does a little of everything with a store, and leaves some of it under way when it is closed.
func use(t testing.TB, p place) {
	t.Helper()
	store, err := Open(deadline(t), p.uri(t), p.options...)
	check(t, err)
	defer func() { check(t, store.Close()) }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	base := prefix(t)
	put(t, store, base+"a", "v")
	get(t, store, base+"a")
	for range store.Range(ctx, Prefix(base)) {
		break
	}
	w, err := store.Watch(ctx, Prefix(base))
	check(t, err)
	batches := w.Chan()
	put(t, store, base+"b", "v")
	<-batches
	s, err := store.NewSession(ctx)
	check(t, err)
	lock, err := s.Lock(ctx, base+"lock")
	check(t, err)
	check(t, lock.Unlock(ctx))
	check(t, s.Close(ctx))
	_, err = store.NewSession(ctx) // nobody closes it
	check(t, err)
	_, err = store.Watch(ctx, All()) // nor that
	check(t, err)
	check(t, store.Update(ctx, func(tx *Tx) error { return tx.Put(base+"c", nil) }))
}

func TestAClosedStoreLeavesNothingBehind(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			use(t, p) // what stays for the process's life is there now
			goroutines, files := runtime.NumGoroutine(), descriptors(t)
			for range 10 {
				use(t, p)
			}
			eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
			eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= files })
		})
	}
	var stacks strings.Builder
	check(t, pprof.Lookup("goroutine").WriteTo(&stacks, 1))
	if strings.Contains(stacks.String(), "inbox") {
		t.Fatalf("left:\n%s", stacks.String())
	}
}

// Threads of the runtime, once made, stay for a while: what is tested is that more stores do not mean more threads.
func TestStoresOneAfterAnotherTakeTheSameThreads(t *testing.T) {
	p := places()[1]
	for range 3 {
		use(t, p)
	}
	before := threads(t)
	for range 15 {
		use(t, p)
	}
	if after := threads(t); after > before+5 {
		t.Fatalf("%d threads, then %d", before, after)
	}
}

func TestAHundredWatchesTakeAHandfulOfThreads(t *testing.T) {
	everywhere(t, func(t *testing.T, store *Store) {
		const watches = 100
		base := prefix(t)
		put(t, store, base+"warm", "v")
		before, goroutines := threads(t), runtime.NumGoroutine()
		all := make([]*Watch, watches)
		for i := range all {
			all[i] = watch(t, store, Prefix(base))
		}
		equal(t, "goroutines of watches that nobody waits for", runtime.NumGoroutine() <= goroutines+2, true)
		var group sync.WaitGroup
		const writes = 10
		for _, w := range all {
			group.Add(1)
			go func() {
				defer group.Done()
				if got := len(take(t, w, writes)); got != writes {
					t.Errorf("%d events", got)
				}
			}()
		}
		for i := range writes {
			put(t, store, fmt.Sprintf("%s%d", base, i), "v")
		}
		during := threads(t)
		group.Wait()
		t.Logf("threads: %d before, %d with %d watches", before, during, watches)
		if during > before+8 {
			t.Fatalf("%d threads before, %d with %d watches", before, during, watches)
		}
	})
}

// take takes events in a goroutine of its own, where a test must not end.
func take(t testing.TB, w *Watch, count int) (all []Event) {
	for len(all) < count {
		batch, err := w.Next()
		if err != nil {
			t.Error(err)
			return
		}
		all = append(all, batch.Events...)
	}
	return all
}

// Reads go into the library on their own thread, but never more than a few at once.
func TestManyReadersTakeAHandfulOfThreads(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			store := p.open(t)
			key := prefix(t)
			put(t, store, key, "v")
			before := threads(t)
			var group sync.WaitGroup
			for range 500 {
				group.Add(1)
				go func() {
					defer group.Done()
					for range 100 {
						if _, err := store.Get(context.Background(), key); err != nil {
							t.Error(err)
							return
						}
					}
				}()
			}
			group.Wait()
			if after := threads(t); after > before+8+cap(store.gate)+cap(store.reads) {
				t.Fatalf("%d threads before, %d with 500 readers", before, after)
			}
		})
	}
}
