package coffer

import "runtime"

// A gate bounds how many goroutines are inside of the library at once. Whoever is there has a thread, and the Go runtime
// starts another one for the next goroutine if that takes more than some microseconds, as it does on a machine that is busy.
type gate chan struct{}

func newGate() gate { return make(gate, 2*runtime.GOMAXPROCS(0)) }

func (g gate) enter() { g <- struct{}{} }
func (g gate) leave() { <-g }

// tryEnter enters unless it would have to wait.
func (g gate) tryEnter() bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}
