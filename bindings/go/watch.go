package coffer

// #include "native.h"
import "C"

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"
	"unsafe"
)

// How many completions, and bytes in them, a watch keeps for a consumer that is slower than the changes. Beyond that the
// watch rests, and begins again where it stopped once these are taken.
const (
	watchBacklogMax      = 64
	watchBacklogBytesMax = 4 << 20
)

// ErrWatchClosed is what the next batch of a watch fails with after [Watch.Close].
var ErrWatchClosed = errors.New("coffer: the watch is closed")

// EventType is what happened to a key.
type EventType uint32

const (
	// EventPut: the key was written.
	EventPut EventType = C.COFFER_EVENT_PUT
	// EventDelete: the key was deleted, or its lease ended.
	EventDelete EventType = C.COFFER_EVENT_DELETE
)

// An Event is one change of one key.
type Event struct {
	Type EventType
	// KV is the pair as it is now; of a deleted one only Key and ModRevision.
	KV KV
	// Previous is the pair before, if it was asked for, existed and is still readable; else nil.
	Previous *KV
}

// IsCreate reports whether the key did not exist before.
func (e Event) IsCreate() bool {
	return e.Type == EventPut && e.KV.CreateRevision == e.KV.ModRevision
}

// A Batch is what a watch delivers: the changes of one or more whole revisions, in order.
type Batch struct {
	// Revision is the one up to which everything was delivered, this batch included.
	Revision int64
	// Events are empty if the batch only tells of progress: [WithProgress], [Watch.RequestProgress].
	Events []Event
	// Fragment reports that more events of the same revision follow with the next batch: [WithFragments].
	Fragment bool
	// Resume is the revision from which another watch, by [WithRevision], goes on behind this batch. Of a fragment it is
	// the fragment's, as a revision is watched as a whole.
	Resume int64
}

// A WatchOption says what a watch delivers.
type WatchOption interface{ applyWatch(*watchOptions) }

type watchOptions struct {
	flags C.uint32_t
	start int64
}

type watchFlag C.uint32_t

func (f watchFlag) applyWatch(o *watchOptions) { o.flags |= C.uint32_t(f) }

func (o RevisionOption) applyWatch(watch *watchOptions) { watch.start = int64(o) }
func (PreviousOption) applyWatch(watch *watchOptions)   { watch.flags |= C.COFFER_WATCH_PREVIOUS }

// WithProgress tells now and then, while nothing happens, up to which revision everything was delivered.
func WithProgress() WatchOption { return watchFlag(C.COFFER_WATCH_PROGRESS) }

// WithoutPuts leaves puts out.
func WithoutPuts() WatchOption { return watchFlag(C.COFFER_WATCH_NO_PUT) }

// WithoutDeletes leaves deletes out.
func WithoutDeletes() WatchOption { return watchFlag(C.COFFER_WATCH_NO_DELETE) }

// WithFragments lets a large revision come in several batches: [Batch.Fragment].
func WithFragments() WatchOption { return watchFlag(C.COFFER_WATCH_FRAGMENTS) }

// A Watch delivers every change of a range of keys, in order, once. It survives lost connections: what happened meanwhile
// is read from the history. It takes neither a goroutine nor a thread while nothing comes.
//
// One goroutine at a time takes batches, by Next, Batches, Events or Chan. Close may be called by any.
type Watch struct {
	ctx   context.Context
	store *Store
	keys  KeyRange
	flags C.uint32_t

	// Of the goroutine that takes batches: where the watch goes on after an end, how many events of that revision were
	// delivered already, and how many of them are to be left out because they come again.
	next, delivered int64
	skip            int64
	pause           backoff
	rest            []Event // of the batch that Events is in

	wake chan struct{} // there is more in the backlog
	over chan struct{} // closed by Close
	mu   sync.Mutex
	stop func() bool // takes Close from the context
	// The library's watch, whose tag it bears in the queue; 0 if there is none.
	handle  C.uint64_t
	tag     uint64
	backlog []waiting
	bytes   int  // in the backlog
	resting bool // it was told to end because the backlog is full
	running bool // a last completion is to come
	closed  bool
	err     error // why nothing more comes
}

// A completion that waits to be taken.
type waiting struct {
	completion C.coffer_completion
	bytes      int
}

// Watch begins to watch a range; it returns when the watch has begun: what happens from then on is delivered, or, with
// [WithRevision], what happened from that revision on. If that revision was compacted away, Watch or the first [Watch.Next]
// says so. The watch ends with the context, or by [Watch.Close]; one of them must happen.
//
//	watch, err := store.Watch(ctx, coffer.Prefix("config/"))
//	if err != nil {
//		return err
//	}
//	defer watch.Close()
//	for event, err := range watch.Events() {
//		if err != nil {
//			return err // ErrCompacted: read the range anew, and watch from the revision of that answer on
//		}
//		fmt.Println(event.Type, event.KV.Key)
//	}
func (s *Store) Watch(ctx context.Context, keys KeyRange, options ...WatchOption) (*Watch, error) {
	var o watchOptions
	for _, option := range options {
		option.applyWatch(&o)
	}
	w := &Watch{
		ctx:   ctx,
		store: s,
		keys:  keys,
		flags: o.flags,
		next:  o.start,
		wake:  make(chan struct{}, 1),
		over:  make(chan struct{}),
		pause: watchPause(),
	}
	if err := ctx.Err(); err != nil {
		return nil, &Error{Code: ErrCanceled, Message: "not begun", cause: err}
	}
	w.mu.Lock()
	w.stop = context.AfterFunc(ctx, w.Close)
	w.mu.Unlock()
	if err := w.begin(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func watchPause() backoff { return backoff{next: 20 * time.Millisecond, max: 2 * time.Second} }

// begin opens the library's watch, and waits until it has begun.
func (w *Watch) begin() error {
	if err := w.open(); err != nil {
		return err
	}
	for {
		completion, err := w.pop()
		if err != nil {
			return err
		}
		started := completion.result.flags&C.COFFER_RESULT_STARTED != 0
		failure := errorOf(completion.status, completion.error.id)
		if started && w.next == 0 {
			w.next = int64(completion.result.revision) + 1
		}
		w.store.free(&completion.result)
		if failure != nil {
			return w.ended(failure)
		}
		if started {
			return nil
		}
	}
}

func (w *Watch) open() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return w.ended(codeEnd)
	}
	s := w.store
	tag := s.inbox.register(w)
	call := s.call(context.Background(), tag)
	k := w.keys
	opened := C.go_watch_open(call, k.kind, text(k.start), length(k.start), text(k.end), length(k.end),
		w.flags, C.int64_t(w.next))
	if err := errorOf(opened.status, opened.error); err != nil {
		s.inbox.unregister(tag)
		return s.explain(err)
	}
	w.handle, w.tag = opened.id, tag
	w.running, w.resting = true, false
	return nil
}

// receive keeps a completion for the goroutine that takes batches.
func (w *Watch) receive(completion *C.coffer_completion) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if completion.last != 0 {
		w.running = false
		w.letGo()
	}
	if w.closed {
		freeCompletion(completion)
		return
	}
	bytes := bytesIn(&completion.result)
	w.backlog = append(w.backlog, waiting{*completion, bytes})
	w.bytes += bytes
	if (len(w.backlog) >= watchBacklogMax || w.bytes >= watchBacklogBytesMax) && w.running && !w.resting {
		w.resting = true
		w.store.inbox.cancel(w.tag)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func bytesIn(result *C.coffer_result) (bytes int) {
	for i := range int(result.event_count) {
		event := &unsafe.Slice(result.events, result.event_count)[i]
		bytes += int(event.kv.key.len + event.kv.value.len)
		if event.previous != nil {
			bytes += int(event.previous.value.len)
		}
	}
	return bytes
}

// letGo closes the library's watch.
func (w *Watch) letGo() {
	if w.handle != 0 {
		C.go_watch_close(w.handle)
		w.handle = 0
	}
}

// pop takes the oldest completion, or waits for one. It fails when the watch was closed.
func (w *Watch) pop() (C.coffer_completion, error) {
	for {
		w.mu.Lock()
		switch {
		case w.closed:
			w.mu.Unlock()
			return C.coffer_completion{}, w.ended(codeEnd)
		case len(w.backlog) > 0:
			first := w.backlog[0]
			w.backlog = w.backlog[1:]
			w.bytes -= first.bytes
			w.mu.Unlock()
			return first.completion, nil
		}
		w.mu.Unlock()
		select {
		case <-w.wake:
		case <-w.over:
		}
	}
}

// Next waits for the next batch. After a failure the watch is over: it fails with [ErrCompacted] if what comes next was
// compacted away, with [ErrWatchClosed] after Close, with the context's error after its end, with [ErrStopped] if the store was
// closed. What may pass, such as a member that is gone, is no failure: Next goes on elsewhere, or waits.
func (w *Watch) Next() (Batch, error) {
	if err := w.failure(); err != nil {
		return Batch{}, err
	}
	for {
		batch, ok, err := w.take()
		if err != nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			w.Close()
			return Batch{}, err
		}
		if ok {
			return batch, nil
		}
	}
}

func (w *Watch) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// take takes one completion, and begins the watch anew after one that says that it ended and may go on.
func (w *Watch) take() (batch Batch, ok bool, err error) {
	completion, err := w.pop()
	if err != nil {
		return Batch{}, false, err
	}
	failure := errorOf(completion.status, completion.error.id)
	if failure == nil {
		batch, ok = w.deliver(&completion.result)
		w.pause = watchPause()
	}
	w.store.free(&completion.result)
	if failure != nil {
		return Batch{}, false, w.resume(failure)
	}
	return batch, ok, nil
}

// resume begins the watch anew after `failure`, unless that is for good.
func (w *Watch) resume(failure error) error {
	for {
		w.mu.Lock()
		rested := w.resting
		w.mu.Unlock()
		again := rested && errors.Is(failure, ErrCanceled) ||
			errors.Is(failure, ErrRetryable) || errors.Is(failure, ErrMaybeCommitted)
		if !again || w.store.closing.Load() {
			return w.ended(failure)
		}
		w.skip = w.delivered
		if !rested && !w.pause.wait(w.over) {
			return w.ended(codeEnd)
		}
		if failure = w.begin(); failure == nil {
			return nil
		}
	}
}

// deliver makes a batch of a result, and keeps where the watch goes on after it.
func (w *Watch) deliver(result *C.coffer_result) (Batch, bool) {
	batch := Batch{
		Revision: int64(result.revision),
		Fragment: result.flags&C.COFFER_RESULT_FRAGMENT != 0,
	}
	if result.flags&C.COFFER_RESULT_STARTED != 0 {
		return Batch{}, false
	}
	for i := range int(result.event_count) {
		event := eventOf(&unsafe.Slice(result.events, result.event_count)[i])
		if event.KV.ModRevision == w.next && w.skip > 0 {
			w.skip-- // it came before the watch began anew
			continue
		}
		batch.Events = append(batch.Events, event)
		if event.KV.ModRevision != w.next {
			w.next, w.delivered = event.KV.ModRevision, 0
		}
		w.delivered++
	}
	if !batch.Fragment && batch.Revision >= w.next {
		w.next, w.delivered, w.skip = batch.Revision+1, 0, 0
	}
	batch.Resume = w.next
	return batch, len(batch.Events) > 0 || result.flags&C.COFFER_RESULT_PROGRESS != 0
}

func eventOf(event *C.coffer_event) Event {
	e := Event{Type: EventType(event.kind), KV: pairOf(&event.kv)}
	if event.previous != nil {
		previous := pairOf(event.previous)
		e.Previous = &previous
	}
	return e
}

// ended says why a watch is over: the context, Close, or `failure`.
func (w *Watch) ended(failure error) error {
	if err := w.ctx.Err(); err != nil {
		return &Error{Code: ErrCanceled, Message: "the watch has ended", cause: err}
	}
	if errors.Is(failure, codeEnd) {
		if w.store.closing.Load() {
			return &Error{Code: ErrStopped, Message: "the store is closed"}
		}
		return ErrWatchClosed
	}
	return failure
}

// Batches takes batch after batch. A failure comes as the last pair, the end by Close not at all. To leave the loop early
// is fine, and another one goes on behind it.
func (w *Watch) Batches() iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for {
			batch, err := w.Next()
			if errors.Is(err, ErrWatchClosed) || !yield(batch, err) || err != nil {
				return
			}
		}
	}
}

// Events takes event after event. A failure comes as the last pair, the end by Close not at all. To leave the loop early is
// fine, and another one goes on behind it.
func (w *Watch) Events() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			for len(w.rest) > 0 {
				event := w.rest[0]
				w.rest = w.rest[1:]
				if !yield(event, nil) {
					return
				}
			}
			batch, err := w.Next()
			if err != nil {
				if !errors.Is(err, ErrWatchClosed) {
					yield(Event{}, err)
				}
				return
			}
			w.rest = batch.Events
		}
	}
}

// Chan returns a channel of batches, for select; it takes a goroutine until the watch ends. The channel is closed then, and
// Err tells why.
func (w *Watch) Chan() <-chan Batch {
	batches := make(chan Batch)
	go func() {
		defer close(batches)
		for batch, err := range w.Batches() {
			if err != nil {
				return
			}
			select {
			case batches <- batch:
			case <-w.over:
				return
			}
		}
	}()
	return batches
}

// Err says why the watch is over: nil if it is not, or was closed by Close.
func (w *Watch) Err() error {
	if err := w.failure(); !errors.Is(err, ErrWatchClosed) {
		return err
	}
	return nil
}

// RequestProgress asks for a batch without events as soon as everything that has happened was delivered.
func (w *Watch) RequestProgress() error {
	w.mu.Lock()
	handle := w.handle
	w.mu.Unlock()
	if handle == 0 {
		return nil // it begins anew, and tells of everything that happened meanwhile
	}
	asked := C.go_watch_request_progress(handle)
	return w.store.explain(errorOf(asked.status, asked.error))
}

// Close ends the watch. What was not taken is dropped. A second time does nothing.
func (w *Watch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	w.stop()
	w.letGo()
	for i := range w.backlog {
		freeCompletion(&w.backlog[i].completion)
	}
	w.backlog = nil
	close(w.over)
}
