package coffer

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sessionTTL is how long a session outlives its program, unless it is told otherwise; as etcd's.
const sessionTTL = 60 * time.Second

// ErrSessionExpired is what a lock or an election fails with when the lease of its session has ended.
var ErrSessionExpired = errors.New("coffer: the session has expired")

// A Session is a lease that is kept alive while the program lives: what locks and elections hang on. If the program dies, or
// reaches the store no longer, the lease ends within its TTL, and with it everything that the session holds.
type Session struct {
	store  *Store
	lease  LeaseID
	keeper *Keeper

	ctx    context.Context // ends with the session
	expire context.CancelCauseFunc
}

// A SessionOption says how a session is made.
type SessionOption func(*sessionOptions)

type sessionOptions struct {
	ttl   time.Duration
	lease LeaseID
}

// WithTTL sets how long a session outlives its program; 60 seconds without it.
func WithTTL(ttl time.Duration) SessionOption {
	return func(o *sessionOptions) { o.ttl = ttl }
}

// WithExistingLease makes a session of a lease that exists.
func WithExistingLease(lease LeaseID) SessionOption {
	return func(o *sessionOptions) { o.lease = lease }
}

// NewSession grants a lease and keeps it alive until [Session.Close]. The context is for the beginning alone.
func (s *Store) NewSession(ctx context.Context, options ...SessionOption) (*Session, error) {
	o := sessionOptions{ttl: sessionTTL}
	for _, option := range options {
		option(&o)
	}
	if o.lease == 0 {
		lease, err := s.Grant(ctx, o.ttl)
		if err != nil {
			return nil, err
		}
		o.lease = lease.ID
	}
	session := &Session{store: s, lease: o.lease}
	session.ctx, session.expire = context.WithCancelCause(context.Background())
	keeper, err := s.keepAlive(o.lease, func(err error) {
		session.expire(fmt.Errorf("%w: %w", ErrSessionExpired, err))
	})
	if err != nil {
		return nil, err
	}
	session.keeper = keeper
	return session, nil
}

// Lease returns the session's lease, for keys that are to end with it.
func (s *Session) Lease() LeaseID { return s.lease }

// Done is closed when the session has ended: its lease was lost, or the session was closed. What it held must no longer be
// relied on; Err says why.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Err says why the session has ended: an [ErrSessionExpired]; nil while it lasts.
func (s *Session) Err() error { return context.Cause(s.ctx) }

// Orphan ends the session, but neither its lease nor what it holds: they last until the lease runs out.
func (s *Session) Orphan() {
	s.keeper.Close()
	s.expire(ErrSessionExpired)
}

// Close ends the session and revokes its lease: what it held is free at once.
func (s *Session) Close(ctx context.Context) error {
	s.Orphan()
	err := s.store.Revoke(ctx, s.lease)
	if errors.Is(err, ErrLeaseNotFound) {
		return nil
	}
	return err
}

// within returns a context that ends with the session too.
func (s *Session) within(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(s.Err()) })
	return both, func() {
		stop()
		cancel(nil)
	}
}

// blame returns the session's error in the place of one that its end has made.
func (s *Session) blame(err error) error {
	switch {
	case errors.Is(err, ErrLeaseNotFound):
		return fmt.Errorf("%w: %w", ErrSessionExpired, err)
	case errors.Is(err, context.Canceled) && s.ctx.Err() != nil:
		return s.Err()
	}
	return err
}
