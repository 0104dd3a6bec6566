package coffer

// #include "native.h"
import "C"

import (
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// An Option says how a store is opened, or what opens a snapshot.
type Option struct {
	name, value string
}

// WithOption sets an option by its name, as in flags, environment and configuration of the coffer program. The names are
// listed at coffer_option in coffer.h. What nothing knows is refused; what does not apply to the kind of store is ignored.
func WithOption(name, value string) Option { return Option{name, value} }

// WithKeyFile seals a new store in a directory with the key in a file, and opens one that it seals. [GenerateKey] makes
// such a file.
func WithKeyFile(path string) Option { return Option{"seal-key-file", path} }

// WithPassphrase seals a new store with a passphrase, and opens one that it seals.
func WithPassphrase(passphrase string) Option { return Option{"seal-passphrase", passphrase} }

// WithPassphraseFile does what [WithPassphrase] does, with the passphrase in a file.
func WithPassphraseFile(path string) Option { return Option{"seal-passphrase-file", path} }

// WithSealCommand seals a new store with a program that wraps and unwraps keys, and opens one that it seals.
func WithSealCommand(command string) Option { return Option{"seal-command", command} }

// WithKMS seals a new store by a Kubernetes KMS v2 plugin at unix:///path, and opens one that it seals.
func WithKMS(socket string) Option { return Option{"seal-kms-socket", socket} }

// WithoutSeal stores everything in the clear.
func WithoutSeal() Option { return Option{"unsealed", "true"} }

// WithBackend chooses what a new store in a directory is made of: "segment", the default, or "sqlite".
func WithBackend(name string) Option { return Option{"backend", name} }

// WithCreate says whether a directory that holds no store gets one. It does unless this says no.
func WithCreate(create bool) Option { return Option{"create", strconv.FormatBool(create)} }

// WithQuota sets how many bytes an embedded store may take; 0 for no limit.
func WithQuota(bytes uint64) Option {
	return Option{"quota-backend-bytes", strconv.FormatUint(bytes, 10)}
}

// WithCommandTimeout sets how long a call may take whose context has no deadline; 0 for no limit.
func WithCommandTimeout(timeout time.Duration) Option {
	return Option{"command-timeout", strconv.FormatInt(timeout.Milliseconds(), 10) + "ms"}
}

// nativeOptions are options in the library's terms, in memory of C's.
type nativeOptions struct {
	at    *C.coffer_option
	count C.size_t
}

func newNativeOptions(options []Option) (nativeOptions, error) {
	for _, o := range options {
		if strings.IndexByte(o.name, 0) >= 0 || strings.IndexByte(o.value, 0) >= 0 {
			return nativeOptions{}, &Error{Code: ErrInvalidArgument, Message: "an option holds a zero byte"}
		}
	}
	if len(options) == 0 {
		return nativeOptions{}, nil
	}
	n := nativeOptions{C.go_options_new(C.size_t(len(options))), C.size_t(len(options))}
	slots := unsafe.Slice(n.at, len(options))
	for i, o := range options {
		slots[i].name = C.CString(o.name)
		slots[i].value = C.CString(o.value)
	}
	return n, nil
}

func (n nativeOptions) free() {
	if n.at != nil {
		C.go_options_free(n.at, n.count)
	}
}

// nativeString is a string in memory of C's, to be freed by C.free.
func nativeString(text string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, &Error{Code: ErrInvalidArgument, Message: "a text holds a zero byte"}
	}
	return C.CString(text), nil
}
