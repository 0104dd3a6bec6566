package coffer

// #include "native.h"
import "C"

import (
	"errors"
	"strings"
)

// Code says what a call came to. Each is an error, to be compared with by [errors.Is]; what calls return is an [*Error] that
// wraps one, or ErrNotFound itself. Numbers are those of coffer.h and never change.
type Code int32

// What can go wrong. [Code.Group] says what to do about it.
const (
	// ErrNotFound: the key does not exist.
	ErrNotFound Code = C.COFFER_NOT_FOUND
	// ErrInvalidArgument: an argument has no meaning; the error says which.
	ErrInvalidArgument Code = C.COFFER_INVALID_ARGUMENT
	// ErrBadHandle: no handle: zero, closed, of another kind, or made up.
	ErrBadHandle Code = C.COFFER_BAD_HANDLE
	// ErrBadSize: a struct has a size that this library does not know, or the program was compiled for another interface.
	ErrBadSize Code = C.COFFER_BAD_SIZE
	// ErrBusy: the handle serves one call at a time, and another one is under way.
	ErrBusy Code = C.COFFER_BUSY
	// ErrForked: this process was forked from the one that uses the library.
	ErrForked Code = C.COFFER_FORKED
	// ErrCanceled: the caller cancelled, and the request did not happen.
	ErrCanceled Code = C.COFFER_CANCELED
	// ErrCannotOpen: the store cannot be opened: in use by another process, wrong key, wrong format, no permission. The
	// error says which.
	ErrCannotOpen Code = C.COFFER_CANNOT_OPEN
	// ErrUnsupported: this kind of store does not offer it.
	ErrUnsupported Code = C.COFFER_UNSUPPORTED
	// ErrEmptyKey: a key is needed and was empty.
	ErrEmptyKey Code = C.COFFER_EMPTY_KEY
	// ErrKeyMissing: a put that keeps the value or the lease of a key names one that does not exist.
	ErrKeyMissing Code = C.COFFER_KEY_MISSING
	// ErrValueProvided: a put that keeps the value has a value.
	ErrValueProvided Code = C.COFFER_VALUE_PROVIDED
	// ErrLeaseProvided: a put that keeps the lease has a lease.
	ErrLeaseProvided Code = C.COFFER_LEASE_PROVIDED
	// ErrTooManyOps: a transaction has more conditions or operations than the store takes.
	ErrTooManyOps Code = C.COFFER_TOO_MANY_OPS
	// ErrDuplicateKey: a transaction puts a key twice, or puts a key that it deletes.
	ErrDuplicateKey Code = C.COFFER_DUPLICATE_KEY
	// ErrInvalidSort: an unknown order or target of sorting.
	ErrInvalidSort Code = C.COFFER_INVALID_SORT
	// ErrTxnTooLarge: a transaction would look at too many keys.
	ErrTxnTooLarge Code = C.COFFER_TXN_TOO_LARGE
	// ErrAnswerTooLarge: the answer is larger than one answer may be; nothing was changed.
	ErrAnswerTooLarge Code = C.COFFER_ANSWER_TOO_LARGE
	// ErrCompacted: the revision was compacted; Error.CompactRevision tells the oldest that is readable.
	ErrCompacted Code = C.COFFER_COMPACTED
	// ErrFutureRevision: the revision has not happened yet.
	ErrFutureRevision Code = C.COFFER_FUTURE_REVISION
	// ErrLeaseNotFound: there is no such lease.
	ErrLeaseNotFound Code = C.COFFER_LEASE_NOT_FOUND
	// ErrLeaseExists: the chosen id of a lease is taken.
	ErrLeaseExists Code = C.COFFER_LEASE_EXISTS
	// ErrLeaseTTLTooLarge: a lease cannot live that long.
	ErrLeaseTTLTooLarge Code = C.COFFER_LEASE_TTL_TOO_LARGE
	// ErrRequestTooLarge: the request is larger than the store takes.
	ErrRequestTooLarge Code = C.COFFER_REQUEST_TOO_LARGE
	// ErrKeyTooLarge: the key is longer than the store keeps.
	ErrKeyTooLarge Code = C.COFFER_KEY_TOO_LARGE
	// ErrEmptyWatchRange: a range that is watched can never hold a key.
	ErrEmptyWatchRange Code = C.COFFER_EMPTY_WATCH_RANGE
	// ErrUnauthenticated: the caller is not known or not allowed.
	ErrUnauthenticated Code = C.COFFER_UNAUTHENTICATED
	// ErrTooManyRequests: too much waits already.
	ErrTooManyRequests Code = C.COFFER_TOO_MANY_REQUESTS
	// ErrNoLeader: no leader is known.
	ErrNoLeader Code = C.COFFER_NO_LEADER
	// ErrNotLeader: the member that was asked is not the leader.
	ErrNotLeader Code = C.COFFER_NOT_LEADER
	// ErrTimeout: the time was up before anything happened.
	ErrTimeout Code = C.COFFER_TIMEOUT
	// ErrUnavailable: no endpoint could be reached.
	ErrUnavailable Code = C.COFFER_UNAVAILABLE
	// ErrStopped: the store was closed, or is being closed.
	ErrStopped Code = C.COFFER_STOPPED
	// ErrNoSpace: the store has reached its quota, or the disk is full. What frees space is still taken.
	ErrNoSpace Code = C.COFFER_NO_SPACE
	// ErrNoResources: the system refused a thread, a descriptor or the like; or there are too many handles.
	ErrNoResources Code = C.COFFER_NO_RESOURCES
	// ErrOutcomeUnknown: the time was up, or the caller cancelled, after a change began.
	ErrOutcomeUnknown Code = C.COFFER_OUTCOME_UNKNOWN
	// ErrLeaderChanged: the leader changed while the request waited.
	ErrLeaderChanged Code = C.COFFER_LEADER_CHANGED
	// ErrConnectionLost: the connection broke after a request that changes something was sent.
	ErrConnectionLost Code = C.COFFER_CONNECTION_LOST
	// ErrDoneAnswerTooLarge: the change was made, but the answer that was asked for with it is too large for one answer. Do not
	// repeat it.
	ErrDoneAnswerTooLarge Code = C.COFFER_DONE_ANSWER_TOO_LARGE
	// ErrFatal: a fault stopped the store: a failed sync, a broken invariant. Close it and open it again.
	ErrFatal Code = C.COFFER_FATAL
	// ErrPanicked: the call panicked, which is a bug in Coffer. Its handle can only be closed.
	ErrPanicked Code = C.COFFER_PANICKED
	// ErrPoisoned: an earlier call on this handle panicked. This one did nothing.
	ErrPoisoned Code = C.COFFER_POISONED
	// ErrCorrupt: stored data is damaged; the error names the place.
	ErrCorrupt Code = C.COFFER_CORRUPT
)

const (
	codeOK  Code = C.COFFER_OK
	codeEnd Code = C.COFFER_END
)

// Group says what an error asks of the caller.
type Group uint32

// The groups.
const (
	// GroupNone: it is no failure.
	GroupNone Group = C.COFFER_GROUP_NONE
	// GroupFixRequest: the request can never succeed as it is.
	GroupFixRequest Group = C.COFFER_GROUP_FIX_REQUEST
	// GroupAuthenticate: the caller is not known or not allowed.
	GroupAuthenticate Group = C.COFFER_GROUP_AUTHENTICATE
	// GroupRetry: nothing happened; the same request may succeed later.
	GroupRetry Group = C.COFFER_GROUP_RETRY
	// GroupOutcomeUnknown: it may or may not have happened. Read before deciding.
	GroupOutcomeUnknown Group = C.COFFER_GROUP_OUTCOME_UNKNOWN
	// GroupStopNode: this store cannot go on; another member, or the store opened anew, may.
	GroupStopNode Group = C.COFFER_GROUP_STOP_NODE
	// GroupRepairData: stored data is damaged.
	GroupRepairData Group = C.COFFER_GROUP_REPAIR_DATA
)

// What [errors.Is] also answers for any error of this package.
var (
	// ErrRetryable: nothing happened, and the same request may be made again.
	ErrRetryable = errors.New("coffer: may be tried again")
	// ErrMaybeCommitted: the request may have happened although it failed.
	ErrMaybeCommitted = errors.New("coffer: may have happened")
)

// Error returns the code's name in words.
func (c Code) Error() string {
	name := strings.TrimPrefix(C.GoString(C.coffer_status_name(C.coffer_status(c))), "COFFER_")
	return "coffer: " + strings.ToLower(strings.ReplaceAll(name, "_", " "))
}

// Group returns what the code asks of the caller.
func (c Code) Group() Group {
	return Group(C.coffer_status_group(C.coffer_status(c)))
}

// Retryable reports whether nothing happened, so that the same request may be made again.
func (c Code) Retryable() bool {
	return C.coffer_is_retryable(C.coffer_status(c)) != 0
}

// MaybeCommitted reports whether the request may have happened although it failed.
func (c Code) MaybeCommitted() bool {
	return C.coffer_is_maybe_committed(C.coffer_status(c)) != 0
}

// Is answers for [ErrRetryable] and [ErrMaybeCommitted].
func (c Code) Is(target error) bool {
	return target == ErrRetryable && c.Retryable() || target == ErrMaybeCommitted && c.MaybeCommitted()
}

// Error is why a call failed. It wraps its Code, and the context's error if that ended the call.
type Error struct {
	// Code is what it came to.
	Code Code
	// Call is the function of the library that failed, such as "coffer_put"; empty if it was not asked.
	Call string
	// Message says what happened, for people. It holds neither keys nor values.
	Message string
	// CompactRevision, with ErrCompacted, is the oldest revision that can be read; else 0.
	CompactRevision int64

	cause error
}

// Error returns the message.
func (e *Error) Error() string {
	text := e.Code.Error()
	if e.Message != "" {
		text = "coffer: " + e.Message
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the code, and the context's error if that ended the call.
func (e *Error) Unwrap() []error {
	if e.cause != nil {
		return []error{e.Code, e.cause}
	}
	return []error{e.Code}
}

// Group returns what the error asks of the caller.
func (e *Error) Group() Group { return e.Code.Group() }

// Retryable reports whether nothing happened, so that the same request may be made again.
func (e *Error) Retryable() bool { return e.Code.Retryable() }

// MaybeCommitted reports whether the request may have happened although it failed.
func (e *Error) MaybeCommitted() bool { return e.Code.MaybeCommitted() }

// errorOf makes an error of a status and an error object, which it frees; nil if the call did not fail. COFFER_END and
// COFFER_NOT_FOUND come out as their codes.
func errorOf(status C.coffer_status, object C.uint64_t) error {
	code := Code(status)
	switch code {
	case codeOK:
		return nil
	case ErrNotFound:
		return ErrNotFound
	case codeEnd:
		return codeEnd
	}
	e := &Error{Code: code}
	if object != 0 {
		var info C.coffer_error_info
		if C.go_error_get(object, &info) == C.COFFER_OK {
			e.Call = C.GoString(info.context)
			e.Message = C.GoString(info.message)
			e.CompactRevision = int64(info.compact_revision)
		}
		C.go_error_free(object)
	}
	return e
}

// endedBy returns err, which, if it is one that the end of a context makes, then wraps that too.
func endedBy(err, cause error) error {
	var e *Error
	if cause == nil || !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case ErrCanceled, ErrTimeout, ErrOutcomeUnknown:
		e.cause = cause
	}
	return err
}
