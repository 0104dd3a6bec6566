// Package porcupine judges the histories that `coffer-chaos histories` makes up with another checker. Whatever our own lets pass
// must be linearizable; and where no outcome is unknown both must say the same.
package porcupine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

type pair struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Created  int64  `json:"created"`
	Modified int64  `json:"modified"`
	Version  int64  `json:"version"`
	Lease    int64  `json:"lease"`
}

type step struct {
	Put *struct{ Key, Value string }
	Get *struct{ Key string }
}

type action struct {
	Put *struct{ Key, Value string }
	Read *struct{ Keys struct{ Start string } }
	Delete *struct{ Keys struct{ Start string } }
	Txn *struct {
		When      [][2]json.RawMessage
		Then      []step
		Otherwise []step
	}
}

type stepAnswer struct {
	Put *struct{ Before *pair }
	Get *struct{ Pairs []pair }
}

type answer struct {
	Put    *struct{ Before *pair }
	Read   *struct{ Pairs []pair }
	Delete *struct{ Before []pair }
	Txn    *struct {
		Succeeded bool
		Steps     []stepAnswer
	}
}

type outcome struct {
	Ok *struct {
		Revision int64
		Answer   answer
	}
}

type operation struct {
	Client  int
	Call    int64
	End     int64
	Action  action
	Outcome outcome
}

type judged struct {
	Sound      bool
	HasLie     bool `json:"has_lie"`
	Operations []operation
}

// A state: the revision, and the pairs by key. States are compared as text.
type state struct {
	revision int64
	pairs    map[string]pair
}

func (s state) text() string {
	keys := make([]string, 0, len(s.pairs))
	for key := range s.pairs {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	var text strings.Builder
	fmt.Fprint(&text, s.revision)
	for _, key := range keys {
		fmt.Fprintf(&text, " %v", s.pairs[key])
	}
	return text.String()
}

func (s state) with(key string, value *string) state {
	next := state{s.revision + 1, map[string]pair{}}
	for other, there := range s.pairs {
		next.pairs[other] = there
	}
	if value == nil {
		delete(next.pairs, key)
		return next
	}
	before, exists := s.pairs[key]
	written := pair{Key: key, Value: *value, Created: next.revision, Modified: next.revision, Version: 1}
	if exists {
		written.Created, written.Version = before.Created, before.Version+1
	}
	next.pairs[key] = written
	return next
}

func found(s state, key string) []pair {
	if there, exists := s.pairs[key]; exists {
		return []pair{there}
	}
	return nil
}

func same(one, other []pair) bool {
	if len(one) != len(other) {
		return false
	}
	for i := range one {
		if one[i] != other[i] {
			return false
		}
	}
	return true
}

func optional(p *pair) []pair {
	if p == nil {
		return nil
	}
	return []pair{*p}
}

// apply does an action to a state, and says whether the answer, if there is one, is right.
func apply(s state, a action, o outcome) (bool, state) {
	known := o.Ok != nil
	switch {
	case a.Put != nil:
		next := s.with(a.Put.Key, &a.Put.Value)
		return !known || o.Ok.Revision == next.revision && o.Ok.Answer.Put != nil &&
			same(found(s, a.Put.Key), optional(o.Ok.Answer.Put.Before)), next
	case a.Read != nil:
		return !known || o.Ok.Revision == s.revision && o.Ok.Answer.Read != nil &&
			same(found(s, a.Read.Keys.Start), o.Ok.Answer.Read.Pairs), s
	case a.Delete != nil:
		before := found(s, a.Delete.Keys.Start)
		next := s
		if len(before) > 0 {
			next = s.with(a.Delete.Keys.Start, nil)
		}
		return !known || o.Ok.Revision == next.revision && o.Ok.Answer.Delete != nil &&
			same(before, o.Ok.Answer.Delete.Before), next
	default:
		var key string
		var expected int64
		if json.Unmarshal(a.Txn.When[0][0], &key) != nil || json.Unmarshal(a.Txn.When[0][1], &expected) != nil {
			panic("a comparison that is none")
		}
		before := found(s, key)
		holds := s.pairs[key].Modified == expected
		next := s
		if holds {
			next = s.with(key, &a.Txn.Then[0].Put.Value)
		}
		if !known {
			return true, next
		}
		txn := o.Ok.Answer.Txn
		if txn == nil || o.Ok.Revision != next.revision || txn.Succeeded != holds {
			return false, next
		}
		if holds {
			return txn.Steps[0].Put != nil && same(before, optional(txn.Steps[0].Put.Before)), next
		}
		return txn.Steps[0].Get != nil && same(before, txn.Steps[0].Get.Pairs), next
	}
}

var model = porcupine.Model{
	Init: func() interface{} { return state{1, map[string]pair{}} },
	Step: func(s, input, output interface{}) (bool, interface{}) {
		right, next := apply(s.(state), input.(action), output.(outcome))
		return right, next
	},
	Equal: func(one, other interface{}) bool { return one.(state).text() == other.(state).text() },
}

func TestWhatOurCheckerLetsPassIsLinearizable(t *testing.T) {
	path := os.Getenv("COFFER_HISTORIES")
	if path == "" {
		t.Skip("COFFER_HISTORIES names no file: tests/chaos porcupine makes one")
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	number, sound, lies := 0, 0, 0
	for ; lines.Scan(); number++ {
		var history judged
		if err := json.Unmarshal(lines.Bytes(), &history); err != nil {
			t.Fatalf("history %d: %v", number, err)
		}
		operations, unknown := []porcupine.Operation{}, 0
		for _, it := range history.Operations {
			end := it.End
			if it.Outcome.Ok == nil {
				// It may happen at any time after its call; after everything else means never.
				end = math.MaxInt64
				unknown++
			}
			operations = append(operations, porcupine.Operation{
				ClientId: it.Client, Input: it.Action, Call: it.Call, Output: it.Outcome, Return: end,
			})
		}
		verdict := porcupine.CheckOperationsTimeout(model, operations, time.Minute)
		switch {
		case verdict == porcupine.Unknown:
			t.Errorf("history %d: porcupine does not come to an end", number)
		case history.Sound && verdict == porcupine.Illegal:
			t.Errorf("history %d passes our checker and is not linearizable", number)
		case !history.Sound && verdict == porcupine.Ok && unknown == 0:
			t.Errorf("history %d is linearizable and does not pass our checker", number)
		}
		if history.Sound {
			sound++
		}
		if history.HasLie {
			lies++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if number < 1000 || sound == 0 || sound == number {
		t.Fatalf("%d histories, %d sound: that shows nothing", number, sound)
	}
	t.Logf("%d histories, %d of them with a lie, %d sound", number, lies, sound)
}
