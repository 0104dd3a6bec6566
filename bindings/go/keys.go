package coffer

// #include "native.h"
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// StoreKeys are the keys of a sealed store. None of it is secret.
type StoreKeys struct {
	// Rewriting reports that data of older keys is being carried over to the active one; Outdated is how many bytes of
	// records older keys sealed.
	Rewriting bool
	Outdated  uint64
	// Changed is the slot or the data key that the call made or changed; 0 of a mere look.
	Changed uint32
	// Slots are what opens the store, ascending by id.
	Slots []KeySlot
	// DataKeys are what its data is sealed with, oldest first.
	DataKeys []DataKey
}

// A KeySlot is a key that opens a store.
type KeySlot struct {
	// ID is never used twice in a store.
	ID uint32
	// Kind is "passphrase", "key-file", "command" or "kms".
	Kind string
	// Label is what its owner calls it.
	Label string
	// Created is when it was made or last rewrapped.
	Created time.Time
}

// A DataKey is a key that data is sealed with.
type DataKey struct {
	ID uint32
	// Active reports that new data is sealed with it, InUse that something needs it now.
	Active, InUse bool
	Created       time.Time
	// Sealed is how many bytes were sealed with it.
	Sealed uint64
}

func storeKeysOf(result *C.coffer_result) StoreKeys {
	info := result.keys
	if info == nil {
		return StoreKeys{}
	}
	keys := StoreKeys{
		Rewriting: info.rewriting != 0,
		Outdated:  uint64(info.outdated_bytes),
		Changed:   uint32(info.changed_id),
	}
	for i := range int(info.slot_count) {
		slot := &unsafe.Slice(info.slots, info.slot_count)[i]
		keys.Slots = append(keys.Slots, KeySlot{
			ID:      uint32(slot.id),
			Kind:    C.GoString(slot.kind),
			Label:   C.GoString(slot.label),
			Created: time.Unix(int64(slot.created_s), 0),
		})
	}
	for i := range int(info.data_key_count) {
		key := &unsafe.Slice(info.data_keys, info.data_key_count)[i]
		keys.DataKeys = append(keys.DataKeys, DataKey{
			ID:      uint32(key.id),
			Active:  key.flags&C.COFFER_DATA_KEY_ACTIVE != 0,
			InUse:   key.flags&C.COFFER_DATA_KEY_IN_USE != 0,
			Created: time.Unix(int64(key.created_s), 0),
			Sealed:  uint64(key.sealed_bytes),
		})
	}
	return keys
}

// GenerateKey draws a key and writes it to a new file that only its owner may read; [WithKeyFile] names it then.
func GenerateKey(path string) error {
	native, err := nativeString(path)
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(native))
	made := C.go_key_generate(native)
	return errorOf(made.status, made.error)
}

// Keys tells which keys open the store, and which ones its data is sealed with. The store must be in a directory that this
// process has open, and sealed, or it fails with [ErrUnsupported]; so for all that follow.
func (s *Store) Keys(ctx context.Context) (StoreKeys, error) {
	return s.onKeys(ctx, func() C.go_answer { return C.go_key_status(s.id) })
}

// AddKey adds a key that opens the store: one option, such as [WithKeyFile]. The label is what its owner calls it. Durable
// when it returns.
func (s *Store) AddKey(ctx context.Context, key Option, label string) (StoreKeys, error) {
	native, err := nativeString(label)
	if err != nil {
		return StoreKeys{}, err
	}
	defer C.free(unsafe.Pointer(native))
	o, err := newNativeOptions([]Option{key})
	if err != nil {
		return StoreKeys{}, err
	}
	defer o.free()
	return s.onKeys(ctx, func() C.go_answer { return C.go_key_add(s.id, o.at, o.count, native) })
}

// RemoveKey takes away the key of a slot: it opens the store no longer. The last one stays. Durable when it returns.
func (s *Store) RemoveKey(ctx context.Context, slot uint32) (StoreKeys, error) {
	return s.onKeys(ctx, func() C.go_answer { return C.go_key_remove(s.id, C.uint32_t(slot)) })
}

// ReplaceKey replaces the key of a slot, 0 for the one that opened the store, by the one that the option names. Durable when
// it returns.
func (s *Store) ReplaceKey(ctx context.Context, slot uint32, key Option) (StoreKeys, error) {
	o, err := newNativeOptions([]Option{key})
	if err != nil {
		return StoreKeys{}, err
	}
	defer o.free()
	return s.onKeys(ctx, func() C.go_answer { return C.go_key_rotate_kek(s.id, C.uint32_t(slot), o.at, o.count) })
}

// RotateDataKey makes a new data key, which seals everything that is written from now on. With `rewrite`, what older keys
// sealed is carried over to it in the background, and then the older ones are destroyed; [Store.Keys] tells how far that
// is. Durable when it returns.
func (s *Store) RotateDataKey(ctx context.Context, rewrite bool) (StoreKeys, error) {
	var flags C.uint32_t
	if rewrite {
		flags = C.COFFER_ROTATE_REWRITE
	}
	return s.onKeys(ctx, func() C.go_answer { return C.go_key_rotate_data(s.id, flags) })
}

func (s *Store) onKeys(ctx context.Context, call func() C.go_answer) (StoreKeys, error) {
	var keys StoreKeys
	err := inside(ctx, call, func(result *C.coffer_result) { keys = storeKeysOf(result) })
	return keys, s.explain(err)
}
