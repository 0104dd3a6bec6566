// The Go runner: reads commands from standard input, one a line, and answers each on standard output. README.md, one folder up,
// says which commands there are and how words are written.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"time"

	"coffer"
)

const lockTTL = 10 * time.Second

func main() {
	r := &runner{ctx: context.Background()}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Split(lines.Text(), " ")
		for i := range words {
			words[i] = decode(words[i])
		}
		answer, err := r.run(words[0], words[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, words[0]+":", err)
			answer = "error " + nameOf(err)
		}
		fmt.Println(answer)
	}
}

// nameOf is what the header of the C interface calls an error.
func nameOf(err error) string {
	var code coffer.Code
	if !errors.As(err, &code) {
		return "OTHER"
	}
	return strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(code.Error(), "coffer: "), " ", "_"))
}

type runner struct {
	ctx    context.Context
	store  *coffer.Store
	txn    *coffer.Txn
	then   []string
	other  []string
	watch  *coffer.Watch
	batch  coffer.Batch
	keeper *coffer.Keeper
	// The lock that is held, and its session.
	session *coffer.Session
	lock    *coffer.Lock
	jobs    []chan error
}

func (r *runner) run(command string, words []string) (string, error) {
	switch command {
	case "open":
		return r.open(words)
	case "close":
		return ok(r.store.Close())
	case "put":
		return r.put(words)
	case "swap":
		return r.swap(words)
	case "get":
		return r.get(words)
	case "range":
		return r.read(words)
	case "scan":
		return r.scan(words)
	case "delete":
		return r.delete(coffer.Key(words[0]))
	case "delete-prefix":
		return r.delete(coffer.Prefix(words[0]))
	case "txn":
		r.txn, r.then, r.other = r.store.Txn(), nil, nil
		return "ok", nil
	case "if":
		r.txn.If(condition(words))
		return "ok", nil
	case "then":
		r.txn.Then(operation(words))
		r.then = append(r.then, words[0])
		return "ok", nil
	case "else":
		r.txn.Else(operation(words))
		r.other = append(r.other, words[0])
		return "ok", nil
	case "commit":
		return r.commit()
	case "watch":
		return r.startWatch(words)
	case "next":
		return r.next()
	case "resume":
		return strconv.FormatInt(r.batch.Resume, 10), nil
	case "unwatch":
		r.watch.Close()
		return "ok", nil
	case "grant":
		return r.grant(words)
	case "revoke":
		return ok(r.store.Revoke(r.ctx, lease(words[0])))
	case "renew":
		return r.renew(words)
	case "lease":
		return r.lease(words)
	case "keep":
		keeper, err := r.store.KeepAlive(lease(words[0]))
		r.keeper = keeper
		return ok(err)
	case "lost":
		<-r.keeper.Lost()
		return "kept", r.keeper.Err()
	case "unkeep":
		r.keeper.Close()
		return "ok", nil
	case "add":
		return r.start(words[1], func() error { return r.addOne(words[0]) })
	case "add-locked":
		return r.start(words[2], func() error { return r.addOneLocked(words[0], words[1]) })
	case "join":
		return r.join()
	case "lock":
		return r.takeLock(words)
	case "put-fenced":
		return r.putFenced(words)
	case "unlock":
		err := r.lock.Unlock(r.ctx)
		return ok(errors.Join(err, r.session.Close(r.ctx)))
	case "compact":
		return ok(r.store.Compact(r.ctx, number(words[0])))
	case "hash":
		hash, err := r.store.Hash(r.ctx, 0)
		return strconv.FormatUint(uint64(hash.Hash), 10), err
	case "keys":
		return r.keys()
	case "rotate-data":
		_, err := r.store.RotateDataKey(r.ctx, true)
		return ok(err)
	case "rotate-key":
		_, err := r.store.ReplaceKey(r.ctx, 0, coffer.WithKeyFile(words[0]))
		return ok(err)
	}
	return "error UNKNOWN_COMMAND", nil
}

func ok(err error) (string, error) { return "ok", err }

func lease(word string) coffer.LeaseID { return coffer.LeaseID(number(word)) }

func (r *runner) open(words []string) (string, error) {
	var options []coffer.Option
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		options = append(options, coffer.WithOption(name, value))
	}
	store, err := coffer.Open(r.ctx, words[0], options...)
	if err == nil {
		r.store = store
	}
	return ok(err)
}

func (r *runner) put(words []string) (string, error) {
	var options []coffer.PutOption
	if len(words) > 2 {
		options = append(options, coffer.WithLease(lease(words[2])))
	}
	done, err := r.store.Put(r.ctx, words[0], []byte(words[1]), options...)
	return fmt.Sprintf("ok %d", done.Revision), err
}

func (r *runner) swap(words []string) (string, error) {
	done, err := r.store.Put(r.ctx, words[0], []byte(words[1]), coffer.WithPrevious())
	return fmt.Sprintf("ok %d %s", done.Revision, firstValue(done)), err
}

func firstValue(answer coffer.Answer) string {
	if len(answer.KVs) == 0 {
		return "none"
	}
	return encode(answer.KVs[0].Value)
}

func (r *runner) get(words []string) (string, error) {
	var options []coffer.ReadOption
	if len(words) > 1 {
		options = append(options, coffer.WithRevision(number(words[1])))
	}
	kv, err := r.store.Get(r.ctx, words[0], options...)
	if errors.Is(err, coffer.ErrNotFound) {
		return "none", nil
	}
	return fmt.Sprintf("%s %d %d %d %d", encode(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease), err
}

func (r *runner) read(words []string) (string, error) {
	var options []coffer.ReadOption
	if len(words) > 1 {
		options = append(options, coffer.WithLimit(number(words[1])))
	}
	found, err := r.store.Read(r.ctx, coffer.Prefix(words[0]), options...)
	var answer strings.Builder
	for _, kv := range found.KVs {
		fmt.Fprintf(&answer, "%s %s\n", encode(kv.Key), encode(kv.Value))
	}
	whole := map[bool]string{true: "more", false: "all"}[found.More]
	return fmt.Sprintf("%send %d %s", answer.String(), found.Count, whole), err
}

func (r *runner) scan(words []string) (string, error) {
	digest, keys := fnv.New64a(), 0
	for kv, err := range r.store.Range(r.ctx, coffer.Prefix(words[0])) {
		if err != nil {
			return "", err
		}
		digest.Write([]byte(kv.Key))
		digest.Write(kv.Value)
		keys++
	}
	return fmt.Sprintf("end %d %016x", keys, digest.Sum64()), nil
}

func (r *runner) delete(keys coffer.KeyRange) (string, error) {
	done, err := r.store.DeleteRange(r.ctx, keys)
	return fmt.Sprintf("ok %d %d", done.Revision, done.Count), err
}

func condition(words []string) coffer.Condition {
	key, relation := words[0], words[2]
	if words[1] == "value" {
		content, value := coffer.Value(key), []byte(words[3])
		return map[string]func([]byte) coffer.Condition{
			"=": content.Equals, "!": content.NotEquals, ">": content.Greater, "<": content.Less,
		}[relation](value)
	}
	property := map[string]func(string) coffer.Number{
		"version": coffer.Version[string], "create": coffer.CreateRevision[string],
		"mod": coffer.ModRevision[string], "lease": coffer.LeaseOf[string],
	}[words[1]](key)
	return map[string]func(int64) coffer.Condition{
		"=": property.Equals, "!": property.NotEquals, ">": property.Greater, "<": property.Less,
	}[relation](number(words[3]))
}

func operation(words []string) coffer.Op {
	switch words[0] {
	case "put":
		return coffer.OpPut(words[1], []byte(words[2]))
	case "get":
		return coffer.OpGet(words[1])
	}
	return coffer.OpDelete(words[1])
}

func (r *runner) commit() (string, error) {
	done, err := r.txn.Commit(r.ctx)
	verdict, kinds := "no", r.other
	if done.Succeeded {
		verdict, kinds = "yes", r.then
	}
	answer := fmt.Sprintf("%s %d", verdict, done.Revision)
	for i, part := range done.Answers {
		answer += "\n" + kinds[i]
		switch kinds[i] {
		case "delete":
			answer += fmt.Sprintf(" %d", part.Count)
		case "get":
			answer += " " + firstValue(part)
		}
	}
	return answer, err
}

func (r *runner) startWatch(words []string) (string, error) {
	var options []coffer.WatchOption
	if len(words) > 1 {
		options = append(options, coffer.WithRevision(number(words[1])))
	}
	watch, err := r.store.Watch(r.ctx, coffer.Prefix(words[0]), options...)
	r.watch, r.batch = watch, coffer.Batch{}
	return ok(err)
}

func (r *runner) next() (string, error) {
	for len(r.batch.Events) == 0 {
		batch, err := r.watch.Next()
		if err != nil {
			return "", err
		}
		r.batch = batch
	}
	event := r.batch.Events[0]
	r.batch.Events = r.batch.Events[1:]
	key := encode(event.KV.Key)
	if event.Type == coffer.EventPut {
		return fmt.Sprintf("put %s %s %d", key, encode(event.KV.Value), event.KV.ModRevision), nil
	}
	return fmt.Sprintf("delete %s %d", key, event.KV.ModRevision), nil
}

func seconds(word string) time.Duration { return time.Duration(number(word)) * time.Second }

func (r *runner) grant(words []string) (string, error) {
	var id coffer.LeaseID
	if len(words) > 1 {
		id = lease(words[1])
	}
	granted, err := r.store.GrantAs(r.ctx, seconds(words[0]), id)
	return fmt.Sprintf("ok %d %d", granted.ID, int64(granted.TTL.Seconds())), err
}

func (r *runner) renew(words []string) (string, error) {
	renewed, err := r.store.Renew(r.ctx, lease(words[0]))
	return fmt.Sprintf("ok %d", int64(renewed.TTL.Seconds())), err
}

func (r *runner) lease(words []string) (string, error) {
	found, err := r.store.TimeToLive(r.ctx, lease(words[0]), true)
	if found.TTL <= 0 {
		return "none", err
	}
	answer := fmt.Sprintf("ok %d", int64(found.Granted.Seconds()))
	for _, key := range found.Keys {
		answer += " " + encode(key)
	}
	return answer, err
}

// start has something done so many times, in a goroutine.
func (r *runner) start(times string, once func() error) (string, error) {
	done := make(chan error, 1)
	go func() {
		var err error
		for i := int64(0); i < number(times) && err == nil; i++ {
			err = once()
		}
		done <- err
	}()
	r.jobs = append(r.jobs, done)
	return "ok", nil
}

func (r *runner) join() (string, error) {
	var failure error
	for _, job := range r.jobs {
		if err := <-job; err != nil {
			failure = err
		}
	}
	r.jobs = nil
	return ok(failure)
}

func (r *runner) addOne(key string) error {
	return r.store.Update(r.ctx, func(tx *coffer.Tx) error {
		kv, err := tx.Get(key)
		if err != nil && !errors.Is(err, coffer.ErrNotFound) {
			return err
		}
		return tx.Put(key, successor(kv))
	})
}

func successor(kv coffer.KV) []byte {
	if len(kv.Value) == 0 {
		return []byte("1")
	}
	return strconv.AppendInt(nil, number(string(kv.Value))+1, 10)
}

// addOneLocked adds one without looking whether somebody else writes: the lock keeps them out.
func (r *runner) addOneLocked(name, key string) error {
	session, err := r.store.NewSession(r.ctx, coffer.WithTTL(lockTTL))
	if err != nil {
		return err
	}
	defer session.Close(r.ctx)
	lock, err := session.Lock(r.ctx, name)
	if err != nil {
		return err
	}
	kv, err := r.store.Get(r.ctx, key)
	if err != nil && !errors.Is(err, coffer.ErrNotFound) {
		return err
	}
	done, err := r.store.Txn().If(lock.Held()).Then(coffer.OpPut(key, successor(kv))).Commit(r.ctx)
	if err == nil && !done.Succeeded {
		return coffer.ErrLeaseNotFound
	}
	if err != nil {
		return err
	}
	return lock.Unlock(r.ctx)
}

func (r *runner) takeLock(words []string) (string, error) {
	session, err := r.store.NewSession(r.ctx, coffer.WithTTL(lockTTL))
	if err != nil {
		return "", err
	}
	lock, err := session.Lock(r.ctx, words[0])
	if err != nil {
		return "", err
	}
	r.session, r.lock = session, lock
	return fmt.Sprintf("ok %d", lock.Token()), nil
}

func (r *runner) putFenced(words []string) (string, error) {
	put := coffer.OpPut(words[0], []byte(words[1]))
	done, err := r.store.Txn().If(r.lock.Held()).Then(put).Commit(r.ctx)
	if err == nil && !done.Succeeded {
		return "lost", nil
	}
	return fmt.Sprintf("ok %d", done.Revision), err
}

func (r *runner) keys() (string, error) {
	keys, err := r.store.Keys(r.ctx)
	answer := "ok"
	for _, slot := range keys.Slots {
		answer += " " + slot.Kind
	}
	return answer, err
}
