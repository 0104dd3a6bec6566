//go:build coffer_dynamic

package coffer

// What pkg-config knows as coffer: the library that the system has installed.

// #cgo pkg-config: coffer
import "C"
