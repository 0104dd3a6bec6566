package coffer

// #include "native.h"
import "C"

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// completionsMax is how many completions one visit to the library takes.
const completionsMax = 32

// A receiver waits for the completions of one tag.
type receiver interface {
	// receive takes a completion with all that it owns. It is called by the one goroutine that reads the queue, and so
	// neither blocks nor waits.
	receive(*C.coffer_completion)
}

// An inbox is a store's completion queue, and the goroutine that empties it.
//
// The queue's descriptor stands in Go's poller, so that however much is under way, one goroutine waits for it and no thread.
// What comes is handed to whoever registered the tag. A receiver is forgotten with its last completion.
type inbox struct {
	queue   C.uint64_t
	file    *os.File
	arrived *C.coffer_completion // completionsMax of them, outside of Go's memory
	done    chan struct{}

	mu        sync.Mutex
	empty     sync.Cond // nobody waits any more
	receivers map[uint64]receiver
	tag       uint64
}

func newInbox() (*inbox, error) {
	made := C.go_queue_new()
	if err := errorOf(made.status, made.error); err != nil {
		return nil, err
	}
	q := &inbox{queue: made.id, done: make(chan struct{}), receivers: map[uint64]receiver{}}
	q.empty.L = &q.mu
	file, err := pollable(made.id)
	if err != nil {
		C.go_queue_close(q.queue)
		return nil, err
	}
	q.file = file
	q.arrived = (*C.coffer_completion)(C.calloc(completionsMax, C.sizeof_coffer_completion))
	go q.read()
	return q, nil
}

// pollable gives a file of its own to a queue's descriptor, which is in Go's poller and which Go may close.
func pollable(queue C.uint64_t) (*os.File, error) {
	found := C.go_queue_fd(queue)
	if err := errorOf(found.status, found.error); err != nil {
		return nil, err
	}
	descriptor, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(found.id), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, &Error{Code: ErrNoResources, Message: "no descriptor for the queue: " + errno.Error()}
	}
	file := os.NewFile(descriptor, "coffer queue")
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		file.Close()
		return nil, &Error{Code: ErrNoResources, Message: "the queue's descriptor cannot be polled: " + err.Error()}
	}
	return file, nil
}

// read empties the queue whenever it is readable, until the file is closed. The poller tells of edges: what it tells of
// while the queue is being emptied is kept, and the queue looked at again.
func (q *inbox) read() {
	defer close(q.done)
	raw, err := q.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(uintptr) bool {
		for q.drain() == completionsMax {
		}
		return false
	})
}

func (q *inbox) drain() int {
	count := int(C.go_queue_drain(q.queue, q.arrived, completionsMax))
	arrived := unsafe.Slice(q.arrived, count)
	for i := range arrived {
		q.hand(&arrived[i])
	}
	return count
}

func (q *inbox) hand(completion *C.coffer_completion) {
	tag := uint64(completion.tag)
	q.mu.Lock()
	to := q.receivers[tag]
	if completion.last != 0 {
		q.forget(tag)
	}
	q.mu.Unlock()
	if to == nil {
		freeCompletion(completion)
		return
	}
	to.receive(completion)
}

// register has the completions of a new tag handed to `to`.
func (q *inbox) register(to receiver) uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tag++
	q.receivers[q.tag] = to
	return q.tag
}

// unregister forgets a tag for which no completion comes.
func (q *inbox) unregister(tag uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forget(tag)
}

func (q *inbox) forget(tag uint64) {
	delete(q.receivers, tag)
	if len(q.receivers) == 0 {
		q.empty.Broadcast()
	}
}

func (q *inbox) cancel(tag uint64) {
	C.go_cancel(q.queue, C.uint64_t(tag))
}

// close waits until everything that is under way has completed, then ends the goroutine and the queue. The store is closed
// by then, so that nothing new begins.
func (q *inbox) close() {
	q.mu.Lock()
	for len(q.receivers) > 0 {
		q.empty.Wait()
	}
	q.mu.Unlock()
	q.file.Close()
	<-q.done
	C.go_queue_close(q.queue)
	C.free(unsafe.Pointer(q.arrived))
}

func freeCompletion(completion *C.coffer_completion) {
	if completion.error.id != 0 {
		C.go_error_free(completion.error.id)
	}
	freeResult(&completion.result)
}

// freeResult wipes what a result holds, if it holds anything.
func freeResult(result *C.coffer_result) {
	if result.owner != 0 {
		C.go_result_free(*result)
		result.owner = 0
	}
}

// free does the same in a goroutine that is one of many.
func (s *Store) free(result *C.coffer_result) {
	if result.owner != 0 {
		s.gate.enter()
		freeResult(result)
		s.gate.leave()
	}
}

// A pending call waits for its one completion.
type pending struct {
	done chan struct{}
	got  C.coffer_completion
}

// Every call is waited for until it has completed, so that one that was waited for can serve again.
var pendings = sync.Pool{New: func() any { return &pending{done: make(chan struct{}, 1)} }}

func (p *pending) receive(completion *C.coffer_completion) {
	p.got = *completion
	p.done <- struct{}{}
}

// ask makes a call with the queue and waits for its answer, which `use` (if not nil) may look at until it returns. If the
// context ends first, the call is cancelled; it still completes, and that tells whether it happened.
func (s *Store) ask(ctx context.Context, submit func(C.go_call) C.go_outcome, use func(*C.coffer_result)) error {
	if err := ctx.Err(); err != nil {
		return &Error{Code: ErrCanceled, Message: "not begun", cause: err}
	}
	p := pendings.Get().(*pending)
	defer pendings.Put(p)
	tag := s.inbox.register(p)
	s.gate.enter()
	began := submit(s.call(ctx, tag))
	s.gate.leave()
	if err := errorOf(began.status, began.error); err != nil {
		s.inbox.unregister(tag)
		return s.explain(err)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		s.inbox.cancel(tag)
		<-p.done
	}
	defer s.free(&p.got.result)
	if err := errorOf(p.got.status, p.got.error.id); err != nil {
		return endedBy(err, ctx.Err())
	}
	if use != nil {
		use(&p.got.result)
	}
	return nil
}

// call says where a call and its completion go. A context with a deadline ends the call itself; else the store's
// command-timeout does.
func (s *Store) call(ctx context.Context, tag uint64) C.go_call {
	where := C.go_call{store: s.id, queue: s.inbox.queue, tag: C.uint64_t(tag)}
	if _, limited := ctx.Deadline(); limited {
		where.timeout_ms = -1
	}
	return where
}

// explain says of a handle that is none any more why: the store was closed.
func (s *Store) explain(err error) error {
	if errors.Is(err, ErrBadHandle) && s.closing.Load() {
		return &Error{Code: ErrStopped, Message: "the store is closed"}
	}
	return err
}
