//go:build !coffer_dynamic && !coffer_custom

package coffer

// What `cargo build --release -p coffer-ffi` leaves in the workspace.

// #cgo CFLAGS: -I${SRCDIR}/../../ffi/include
// #cgo LDFLAGS: ${SRCDIR}/../../target/release/libcoffer_ffi.a -lgcc_s -lutil -lrt -lpthread -lm -ldl
import "C"
