package coffer

// #include "native.h"
import "C"

import (
	"context"
	"errors"
	"iter"
	"unsafe"
)

// Range reads a range of keys of any size, in ascending order, all at one revision, in bounded memory: a page at a time, of
// a few hundred KiB. Options may name a revision and a limit, and leave values out; other orders and bounds on revisions
// are for [Store.Read].
//
// A failure comes as the last pair of the sequence. To leave the loop early is fine; the sequence can be ranged over again.
//
//	for kv, err := range store.Range(ctx, coffer.Prefix("users/")) {
//		if err != nil {
//			return err
//		}
//		fmt.Printf("%s: %s\n", kv.Key, kv.Value)
//	}
func (s *Store) Range(ctx context.Context, keys KeyRange, options ...ReadOption) iter.Seq2[KV, error] {
	read := readOf(options)
	return func(yield func(KV, error) bool) {
		opened := C.go_iter_open(s.id,
			keys.kind, text(keys.start), length(keys.start), text(keys.end), length(keys.end), read)
		if err := errorOf(opened.status, opened.error); err != nil {
			yield(KV{}, s.explain(err))
			return
		}
		defer C.go_iter_close(opened.id)
		for {
			page, err := s.page(ctx, opened.id)
			if errors.Is(err, codeEnd) {
				return
			}
			if err != nil {
				yield(KV{}, err)
				return
			}
			for _, kv := range page {
				if !yield(kv, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) page(ctx context.Context, iterator C.uint64_t) ([]KV, error) {
	var page []KV
	err := s.ask(ctx, func(call C.go_call) C.go_outcome {
		return C.go_iter_next(call, iterator)
	}, func(result *C.coffer_result) {
		page = make([]KV, int(result.kv_count))
		for i := range page {
			page[i] = pairOf(&unsafe.Slice(result.kvs, len(page))[i])
		}
	})
	return page, err
}
