package coffer

// #include "native.h"
import "C"

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// A Store is an open store. It may be used by any number of goroutines at once.
type Store struct {
	id       C.uint64_t
	inbox    *inbox
	embedded bool

	// How many goroutines are inside of the library at once, each on a thread: for moments, and for reads that may take a
	// while.
	gate, reads gate

	closing   atomic.Bool
	closeOnce sync.Once
	closeErr  error
}

// Open opens a store. The URI says where it is:
//
//	file:///dir                    in that directory, in this process; made if there is none
//	mem:                           new, in memory of this process; gone when it is closed
//	unix:///path                   behind the socket of a daemon
//	coffer://host:port,host:port   behind one or more members of a cluster
//
// A new store in a directory wants to be told what seals it, as by [WithKeyFile], or that nothing does: [WithoutSeal]. A
// directory is open once: for a second opening, here or in another process, Open fails with [ErrCannotOpen] and says which
// process has it.
//
// Open waits until the store can answer. If the context ends before, Open returns; what opens after all is closed again.
func Open(ctx context.Context, uri string, options ...Option) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Code: ErrCanceled, Message: "not begun", cause: err}
	}
	if ctx.Done() == nil {
		return open(uri, options)
	}
	type opening struct {
		store *Store
		err   error
	}
	opened := make(chan opening)
	abandoned := make(chan struct{})
	go func() {
		store, err := open(uri, options)
		select {
		case opened <- opening{store, err}:
		case <-abandoned:
			if store != nil {
				store.Close()
			}
		}
	}()
	select {
	case o := <-opened:
		return o.store, o.err
	case <-ctx.Done():
		close(abandoned)
		return nil, &Error{Code: ErrCanceled, Message: "the store was not open yet", cause: ctx.Err()}
	}
}

func open(uri string, options []Option) (*Store, error) {
	nativeURI, err := nativeString(uri)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(nativeURI))
	native, err := newNativeOptions(options)
	if err != nil {
		return nil, err
	}
	defer native.free()
	opened := C.go_open(nativeURI, native.at, native.count)
	if err := errorOf(opened.status, opened.error); err != nil {
		return nil, err
	}
	inbox, err := newInbox()
	if err != nil {
		C.go_close(opened.id)
		return nil, err
	}
	return &Store{
		id:       opened.id,
		inbox:    inbox,
		embedded: strings.HasPrefix(uri, "file:") || strings.HasPrefix(uri, "mem:"),
		gate:     newGate(),
		reads:    newGate(),
	}, nil
}

// Close closes the store. Calls that are under way end, with [ErrStopped], or with [ErrOutcomeUnknown] if they are changes
// that had begun; so do watches and keepers. What was acknowledged is on the disk. When Close returns, nothing of the store
// is left: no goroutine, no descriptor, and of an embedded one no thread and no lock. Later calls fail with [ErrStopped], a
// second Close does nothing.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.closing.Store(true)
		ended := C.go_close(s.id)
		s.closeErr = errorOf(ended.status, ended.error)
		s.inbox.close()
	})
	return s.closeErr
}

// LibraryVersion returns the version of the library, such as "0.1.0".
func LibraryVersion() string { return C.GoString(C.coffer_version()) }
