// Package coffer opens Coffer stores: encrypted, revisioned key-value stores, in this process or behind a socket.
//
//	ctx := context.Background()
//	store, err := coffer.Open(ctx, "file:///var/lib/app/store", coffer.WithKeyFile("/etc/app/key"))
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//
//	if _, err := store.Put(ctx, "config/colour", []byte("green")); err != nil {
//		return err
//	}
//	kv, err := store.Get(ctx, "config/colour")
//	if errors.Is(err, coffer.ErrNotFound) {
//		return nil
//	}
//
// The same calls serve a store in memory (mem:), in a directory (file:///dir), behind a daemon (unix:///path) and behind a
// cluster (coffer://host:port,host:port). What is stored is encrypted on the disk; a key file is made by [GenerateKey].
//
// # Contexts
//
// Every call takes one. When it ends first, the call is cancelled, and its error wraps the context's beside [ErrCanceled] if
// nothing happened, or [ErrOutcomeUnknown] if a change may have. A context without a deadline leaves the store's
// command-timeout to bound the call. A [Watch] lives as long as its context.
//
// # Errors
//
// Branch on codes by [errors.Is]: ErrNotFound, ErrCompacted and so on. [errors.As] finds the [*Error] with the message.
// [ErrRetryable] and [ErrMaybeCommitted] hold for all errors that ask for the same: to be tried again because nothing
// happened; to be looked into because something may have.
//
// # Goroutines, threads, memory
//
// A store has one goroutine, which takes what comes from the library's completion queue; the queue's descriptor stands in
// Go's poller. Calls, watches and keepers wait there, without a thread each. Only reads of single keys of embedded stores
// enter the library directly, and a few at a time. Keys and values that are returned are copies and the caller's; the
// library's own are wiped. Close closes everything.
//
// # Building
//
// The package is cgo over libcoffer. By default it links the archive that `cargo build --release -p coffer-ffi` leaves in
// this repository's target/release. With the tag coffer_dynamic it links what pkg-config knows as coffer; with
// coffer_custom what CGO_CFLAGS and CGO_LDFLAGS name. The go command does not notice that an archive was built anew: remove
// the program that it built, or pass -a.
package coffer
