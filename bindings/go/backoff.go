package coffer

import (
	"math/rand/v2"
	"time"
)

// A backoff is how long to wait before the next attempt: twice as long each time, up to a bound, and never quite as long
// as others wait.
type backoff struct {
	next, max time.Duration
}

// wait waits; it returns false if `over` is closed first.
func (b *backoff) wait(over <-chan struct{}) bool {
	timer := time.NewTimer(b.next/2 + rand.N(b.next))
	defer timer.Stop()
	b.next = min(2*b.next, b.max)
	select {
	case <-timer.C:
		return true
	case <-over:
		return false
	}
}
