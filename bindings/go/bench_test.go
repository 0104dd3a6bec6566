package coffer

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

const benchKeys = 10_000

func filled(b *testing.B, p place) (*Store, []string) {
	store := p.open(b)
	base := prefix(b)
	keys := make([]string, benchKeys)
	value := make([]byte, 100)
	for i := 0; i < benchKeys; i += 100 {
		txn := store.Txn()
		for j := i; j < i+100; j++ {
			keys[j] = fmt.Sprintf("%s%08d", base, j)
			txn.Then(OpPut(keys[j], value))
		}
		_, err := txn.Commit(context.Background())
		check(b, err)
	}
	return store, keys
}

func onEach(b *testing.B, bench func(b *testing.B, store *Store, keys []string)) {
	for _, p := range places() {
		b.Run(p.name, func(b *testing.B) {
			store, keys := filled(b, p)
			b.ReportAllocs()
			b.ResetTimer()
			bench(b, store, keys)
		})
	}
}

// A value that is cached, among 10,000 keys.
func BenchmarkGet(b *testing.B) {
	onEach(b, func(b *testing.B, store *Store, keys []string) {
		for i := range b.N {
			if _, err := store.Get(context.Background(), keys[i%1000]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkGetParallel(b *testing.B) {
	onEach(b, func(b *testing.B, store *Store, keys []string) {
		var at atomic.Int64
		b.RunParallel(func(loop *testing.PB) {
			for loop.Next() {
				if _, err := store.Get(context.Background(), keys[at.Add(1)%1000]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// Durable puts, one after another.
func BenchmarkPut(b *testing.B) {
	onEach(b, func(b *testing.B, store *Store, keys []string) {
		value := make([]byte, 100)
		for i := range b.N {
			if _, err := store.Put(context.Background(), keys[i%benchKeys], value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Durable puts of 16 goroutines for each processor, which share their syncs.
func BenchmarkPutParallel(b *testing.B) {
	onEach(b, func(b *testing.B, store *Store, keys []string) {
		value := make([]byte, 100)
		var at atomic.Int64
		b.SetParallelism(16)
		b.RunParallel(func(loop *testing.PB) {
			for loop.Next() {
				if _, err := store.Put(context.Background(), keys[at.Add(1)%benchKeys], value); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// All 10,000 keys, a page at a time.
func BenchmarkRange(b *testing.B) {
	onEach(b, func(b *testing.B, store *Store, keys []string) {
		for range b.N {
			for _, err := range store.Range(context.Background(), Between(keys[0], keys[benchKeys-1])) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
