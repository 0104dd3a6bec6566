package coffer

import (
	"context"
	"errors"
)

// ErrLocked is what [Session.TryLock] fails with if somebody else has the lock.
var ErrLocked = errors.New("coffer: locked by another session")

// A Lock is held by one session at a time. It is lost with its session, whether or not that has been noticed: what must
// never happen twice is guarded by its Token, or done in a transaction under the condition Held.
type Lock struct{ *claim }

// Lock waits for the lock `name`. Those who wait get it in the order in which they came. It fails with
// [ErrSessionExpired] if the session ends before. A session that has the lock gets it again: goroutines that are to exclude
// each other take a session each.
func (s *Session) Lock(ctx context.Context, name string) (*Lock, error) {
	lock, err := s.lock(ctx, name, func(ctx context.Context, c *claim) error {
		return c.await(ctx)
	})
	return lock, err
}

// TryLock takes the lock `name` if it is free; else it fails with [ErrLocked].
func (s *Session) TryLock(ctx context.Context, name string) (*Lock, error) {
	return s.lock(ctx, name, func(context.Context, *claim) error {
		return ErrLocked
	})
}

// lock enters the queue, and calls `others` if somebody is before it.
func (s *Session) lock(ctx context.Context, name string, others func(context.Context, *claim) error) (*Lock, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	c := s.claim(name)
	_, first, _, err := c.enter(ctx, nil)
	if err != nil {
		c.abandonIfThere(ctx, err)
		return nil, s.blame(err)
	}
	if first.Key != c.key {
		if err := others(ctx, c); err != nil {
			c.abandon(ctx)
			return nil, s.blame(err)
		}
	}
	return &Lock{c}, nil
}

// Unlock gives the lock back. A second time does nothing.
func (l *Lock) Unlock(ctx context.Context) error { return l.leave(ctx) }

// Lost is closed when the lock's session has ended, and the lock with it.
func (l *Lock) Lost() <-chan struct{} { return l.session.Done() }
