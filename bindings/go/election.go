package coffer

import (
	"bytes"
	"context"
	"errors"
	"iter"
)

// ErrNotElected is what a proclamation fails with if the session does not lead.
var ErrNotElected = errors.New("coffer: not the leader of the election")

// An Election chooses one session at a time as its leader, and tells everybody the leader's value. What holds for a [Lock]
// holds for leadership.
type Election struct{ *claim }

// Election stands for the election `name`; [Election.Campaign] takes part in it.
func (s *Session) Election(name string) *Election { return &Election{s.claim(name)} }

// Campaign waits until the session leads, with this value. It fails with [ErrSessionExpired] if the session ends before.
func (e *Election) Campaign(ctx context.Context, value []byte) error {
	ctx, cancel := e.session.within(ctx)
	defer cancel()
	own, first, created, err := e.enter(ctx, value)
	if err != nil {
		e.abandonIfThere(ctx, err)
		return e.session.blame(err)
	}
	if !created && !bytes.Equal(own.Value, value) {
		err = e.Proclaim(ctx, value)
	}
	if err == nil && first.Key != e.key {
		err = e.await(ctx)
	}
	if err != nil {
		e.abandon(ctx)
	}
	return e.session.blame(err)
}

// Proclaim changes the leader's value. It fails with [ErrNotElected] if the session does not lead.
func (e *Election) Proclaim(ctx context.Context, value []byte) error {
	if e.Token() == 0 {
		return ErrNotElected
	}
	answer, err := e.session.store.Txn().
		If(e.Held()).
		Then(OpPut(e.key, value, WithLease(e.session.lease))).
		Commit(ctx)
	if err == nil && !answer.Succeeded {
		e.hold(0)
		return ErrNotElected
	}
	return e.session.blame(err)
}

// Resign lets another one lead. A second time does nothing.
func (e *Election) Resign(ctx context.Context) error { return e.leave(ctx) }

// Lost is closed when the session has ended, and leadership with it.
func (e *Election) Lost() <-chan struct{} { return e.session.Done() }

// Leader reads who leads the election `name`: the value is what the leader proclaimed, CreateRevision its token. It fails
// with [ErrNotFound] if nobody does.
func (s *Store) Leader(ctx context.Context, name string) (KV, error) {
	leader, _, err := s.leader(ctx, name)
	return leader, err
}

func (s *Store) leader(ctx context.Context, name string) (leader KV, revision int64, err error) {
	answer, err := s.Read(ctx, Prefix(name+"/"), WithSort(SortCreateRevision), WithLimit(1))
	if err == nil && len(answer.KVs) == 0 {
		return KV{}, answer.Revision, ErrNotFound
	}
	if err != nil {
		return KV{}, 0, err
	}
	return answer.KVs[0], answer.Revision, nil
}

// Observe tells who leads the election `name`: now, and whenever somebody else does or the leader's value changes, until
// the context ends, which comes as the last pair of the sequence. While nobody leads it waits.
func (s *Store) Observe(ctx context.Context, name string) iter.Seq2[KV, error] {
	return func(yield func(KV, error) bool) {
		for {
			leader, revision, err := s.leader(ctx, name)
			switch {
			case errors.Is(err, ErrNotFound):
				err = s.awaitPut(ctx, name+"/", revision+1)
			case err == nil:
				if !yield(leader, nil) {
					return
				}
				var left bool
				if left, err = s.follow(ctx, leader.Key, revision+1, yield); left {
					return
				}
			}
			if err != nil && !errors.Is(err, ErrCompacted) {
				yield(KV{}, err)
				return
			}
		}
	}
}

// awaitPut waits until a key under a prefix is written, at a revision or after it.
func (s *Store) awaitPut(ctx context.Context, prefix string, revision int64) error {
	watch, err := s.Watch(ctx, Prefix(prefix), WithRevision(revision), WithoutDeletes())
	if err != nil {
		return err
	}
	defer watch.Close()
	_, err = watch.Next()
	return err
}

// follow yields what one leader proclaims, until it leads no more.
func (s *Store) follow(ctx context.Context, key string, revision int64, yield func(KV, error) bool) (left bool, err error) {
	watch, err := s.Watch(ctx, Key(key), WithRevision(revision))
	if err != nil {
		return false, err
	}
	defer watch.Close()
	for event, err := range watch.Events() {
		switch {
		case err != nil:
			return false, err
		case event.Type == EventDelete:
			return false, nil
		case !yield(event.KV, nil):
			return true, nil
		}
	}
	return false, nil
}
