package coffer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// leaveTimeout is how long leaving the queue after a failure may take; the lease takes the key with it at last.
const leaveTimeout = 5 * time.Second

// A claim is a key of a session in a queue: whose key was created first, of those that exist under the prefix, holds what
// the prefix stands for. Locks and elections are claims; the keys are those of etcd's concurrency package, so that both
// respect each other.
type claim struct {
	session *Session
	prefix  string // with a slash at its end
	key     string

	mu    sync.Mutex
	token int64 // the revision that created the key; 0 while there is none
}

func (s *Session) claim(name string) *claim {
	prefix := name + "/"
	return &claim{session: s, prefix: prefix, key: fmt.Sprintf("%s%x", prefix, int64(s.lease))}
}

// first reads who is first in the queue.
func (c *claim) first() Op {
	return OpGet(Prefix(c.prefix), WithSort(SortCreateRevision), WithLimit(1))
}

// enter takes a place in the queue, or finds the one that the session has. It returns the session's own pair, and the first
// in the queue.
func (c *claim) enter(ctx context.Context, value []byte) (own, first KV, created bool, err error) {
	answer, err := c.session.store.Txn().
		If(Missing(c.key)).
		Then(OpPut(c.key, value, WithLease(c.session.lease)), c.first()).
		Else(OpGet(c.key), c.first()).
		Commit(ctx)
	if err != nil {
		return KV{}, KV{}, false, err
	}
	first = answer.Answers[1].KVs[0]
	if answer.Succeeded {
		own = KV{Key: c.key, Value: value, CreateRevision: answer.Revision, ModRevision: answer.Revision}
	} else {
		own = answer.Answers[0].KVs[0]
	}
	c.hold(own.CreateRevision)
	return own, first, answer.Succeeded, nil
}

// await waits until all that came before this claim have left, and this one is still there.
func (c *claim) await(ctx context.Context) error {
	for {
		answer, err := c.session.store.Read(ctx, Prefix(c.prefix),
			WithCreateRevisions(0, c.Token()-1), WithSortDescending(SortCreateRevision), WithLimit(1), WithKeysOnly())
		if err != nil {
			return err
		}
		if len(answer.KVs) == 0 {
			return c.confirm(ctx)
		}
		if err := c.session.store.awaitDelete(ctx, answer.KVs[0].Key, answer.Revision+1); err != nil {
			return err
		}
	}
}

// confirm fails if the claim's key is gone.
func (c *claim) confirm(ctx context.Context) error {
	own, err := c.session.store.Get(ctx, c.key)
	if errors.Is(err, ErrNotFound) || err == nil && own.CreateRevision != c.Token() {
		return ErrSessionExpired
	}
	return err
}

// awaitDelete waits until a key is deleted, at a revision or after it.
func (s *Store) awaitDelete(ctx context.Context, key string, revision int64) error {
	watch, err := s.Watch(ctx, Key(key), WithRevision(revision), WithoutPuts())
	if err == nil {
		defer watch.Close()
		_, err = watch.Next()
	}
	if errors.Is(err, ErrCompacted) {
		return nil // look again
	}
	return err
}

// leave gives the place in the queue back, if it is still the one that the token stands for.
func (c *claim) leave(ctx context.Context) error {
	token := c.Token()
	if token == 0 {
		return nil
	}
	_, err := c.session.store.Txn().If(c.Held()).Then(OpDelete(c.key)).Commit(ctx)
	if err == nil {
		c.hold(0)
	}
	return err
}

// abandon leaves after a failure. The caller's context may be over, the key must go nevertheless.
func (c *claim) abandon(ctx context.Context) {
	if c.session.ctx.Err() != nil {
		return // its lease takes the key with it
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_ = c.leave(ctx)
}

// abandonIfThere leaves after an attempt to enter that may have succeeded.
func (c *claim) abandonIfThere(ctx context.Context, err error) {
	if !errors.Is(err, ErrMaybeCommitted) || c.session.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_, _ = c.session.store.Delete(ctx, c.key)
}

func (c *claim) hold(token int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
}

// Key returns the session's key in the queue.
func (c *claim) Key() string { return c.key }

// Token returns a fencing token: the revision that created the key. Each holder's is greater than those of all before. A
// resource that keeps the greatest token it has seen, and refuses smaller ones, is safe from a holder that has lost its lock
// and does not know it yet. 0 while there is none.
func (c *claim) Token() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// Held is a condition for transactions: it holds while the session's key stands, and never while there is no token. What is
// written under it is written by the holder.
func (c *claim) Held() Condition {
	token := c.Token()
	if token == 0 {
		token = -1
	}
	return CreateRevision(c.key).Equals(token)
}
