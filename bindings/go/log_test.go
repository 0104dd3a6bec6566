package coffer

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// A handler that keeps what is logged.
type logged struct {
	mu      sync.Mutex
	records []slog.Record
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logged) WithGroup(string) slog.Handler            { return l }
func (l *logged) Handle(_ context.Context, record slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, record)
	return nil
}

func (l *logged) has(level slog.Level, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, record := range l.records {
		if record.Level == level && strings.Contains(record.Message, text) && record.NumAttrs() == 1 {
			return true
		}
	}
	return false
}

func TestTheLibraryLogsToALogger(t *testing.T) {
	handler := &logged{}
	check(t, SetLogger(slog.New(handler), slog.LevelWarn))
	defer SetLogger(nil, slog.LevelWarn)
	store := openStore(t, "mem:", WithQuota(1<<20))
	eventually(t, "the quota is reached", func() bool {
		_, err := store.Put(deadline(t), "k", make([]byte, 100<<10))
		return errors.Is(err, ErrNoSpace) && errors.Is(err, ErrRetryable)
	})
	eventually(t, "that is logged", func() bool { return handler.has(slog.LevelWarn, "NOSPACE") })
	equal(t, "below the level", handler.has(slog.LevelInfo, ""), false)
}
