package coffer

// #include "native.h"
import "C"

import (
	"context"
	"log/slog"
	"sync/atomic"
)

var logger atomic.Pointer[slog.Logger]

// SetLogger has everything that the library logs, from `level` on, told to a logger: for the whole process, in place of an
// earlier one; nil for nobody, as in the beginning. Each record has the module that says it as "target". Neither keys nor
// values are logged. The logger's handler is called by threads of the library: it must return soon, and must not call this
// package.
func SetLogger(to *slog.Logger, level slog.Level) error {
	logger.Store(to)
	var down C.uint32_t
	if to != nil {
		down = levelOf(level)
	}
	set := C.go_set_log(down)
	return errorOf(set.status, set.error)
}

func levelOf(level slog.Level) C.uint32_t {
	switch {
	case level <= slog.LevelDebug:
		return C.COFFER_LOG_DEBUG
	case level <= slog.LevelInfo:
		return C.COFFER_LOG_INFO
	case level <= slog.LevelWarn:
		return C.COFFER_LOG_WARN
	}
	return C.COFFER_LOG_ERROR
}

//export cofferGoLog
func cofferGoLog(level C.uint32_t, target, message *C.char) {
	to := logger.Load()
	if to == nil {
		return
	}
	var at slog.Level
	switch level {
	case C.COFFER_LOG_ERROR:
		at = slog.LevelError
	case C.COFFER_LOG_WARN:
		at = slog.LevelWarn
	case C.COFFER_LOG_INFO:
		at = slog.LevelInfo
	default:
		at = slog.LevelDebug
	}
	to.LogAttrs(context.Background(), at, C.GoString(message), slog.String("target", C.GoString(target)))
}
