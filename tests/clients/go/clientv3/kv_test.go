package clientv3_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestPutsCountVersionsAndRevisions(t *testing.T) {
	client, key := connect(t), prefix(t)+"a"
	created := put(t, client, key, "1")
	changed := put(t, client, key, "2")
	equal(t, "revision", changed, created+1)
	response, err := client.Get(deadline(t), key)
	check(t, err)
	kv := response.Kvs[0]
	equal(t, "value", string(kv.Value), "2")
	equal(t, "create revision", kv.CreateRevision, created)
	equal(t, "mod revision", kv.ModRevision, changed)
	equal(t, "version", kv.Version, 2)

	old, err := client.Get(deadline(t), key, clientv3.WithRev(created))
	check(t, err)
	equal(t, "old value", string(old.Kvs[0].Value), "1")
	equal(t, "header of an old read", old.Header.Revision, changed)

	previous, err := client.Put(deadline(t), key, "3", clientv3.WithPrevKV())
	check(t, err)
	equal(t, "previous value", string(previous.PrevKv.Value), "2")

	deleted, err := client.Delete(deadline(t), key, clientv3.WithPrevKV())
	check(t, err)
	equal(t, "deleted", deleted.Deleted, 1)
	equal(t, "deleted value", string(deleted.PrevKvs[0].Value), "3")
	nothing, err := client.Delete(deadline(t), key)
	check(t, err)
	equal(t, "revision after deleting nothing", nothing.Header.Revision, deleted.Header.Revision)
}

func TestRangesWithEveryOption(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	var revisions []int64
	for i := range 10 {
		revisions = append(revisions, put(t, client, fmt.Sprintf("%s%d", prefix, i), fmt.Sprint(9-i)))
	}
	get := func(opts ...clientv3.OpOption) (keys string, response *clientv3.GetResponse) {
		response, err := client.Get(deadline(t), prefix, append([]clientv3.OpOption{clientv3.WithPrefix()}, opts...)...)
		check(t, err)
		for _, kv := range response.Kvs {
			keys += strings.TrimPrefix(string(kv.Key), prefix)
		}
		return keys, response
	}
	for _, test := range []struct {
		want string
		more bool
		opts []clientv3.OpOption
	}{
		{"0123456789", false, nil},
		{"0123456789", false, []clientv3.OpOption{clientv3.WithSerializable()}},
		{"012", true, []clientv3.OpOption{clientv3.WithLimit(3)}},
		{"987", true, []clientv3.OpOption{clientv3.WithLimit(3), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}},
		{"9876543210", false, []clientv3.OpOption{clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend)}},
		{"98", true, []clientv3.OpOption{clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(2)}},
		{"56789", false, []clientv3.OpOption{clientv3.WithMinModRev(revisions[5])}},
		{"01234", false, []clientv3.OpOption{clientv3.WithMaxCreateRev(revisions[4])}},
		{"0123", false, []clientv3.OpOption{clientv3.WithRev(revisions[3])}},
		{"3456789", false, []clientv3.OpOption{clientv3.WithRange(prefix + "~"), func(op *clientv3.Op) { op.WithKeyBytes([]byte(prefix + "3")) }}},
	} {
		keys, response := get(test.opts...)
		equal(t, "keys", keys, test.want)
		equal(t, "more", response.More, test.more)
	}
	_, response := get(clientv3.WithLimit(3))
	equal(t, "count of a limited range", response.Count, 10)
	_, response = get(clientv3.WithCountOnly())
	equal(t, "count", response.Count, 10)
	equal(t, "pairs beside a count", len(response.Kvs), 0)
	_, response = get(clientv3.WithKeysOnly())
	equal(t, "value beside keys only", len(response.Kvs[0].Value), 0)
	fromKey, err := client.Get(deadline(t), prefix+"8", clientv3.WithFromKey(), clientv3.WithLimit(1))
	check(t, err)
	equal(t, "first from a key", string(fromKey.Kvs[0].Key), prefix+"8")
}

func TestTxnsCompareEveryField(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	lease, err := client.Grant(deadline(t), 60)
	check(t, err)
	created := put(t, client, prefix+"a", "1")
	changed := put(t, client, prefix+"a", "2", clientv3.WithLease(lease.ID))
	for i, test := range []struct {
		cmp  clientv3.Cmp
		want bool
	}{
		{clientv3.Compare(clientv3.Value(prefix+"a"), "=", "2"), true},
		{clientv3.Compare(clientv3.Value(prefix+"a"), "!=", "2"), false},
		{clientv3.Compare(clientv3.Value(prefix+"a"), ">", "1"), true},
		{clientv3.Compare(clientv3.Version(prefix+"a"), "=", 2), true},
		{clientv3.Compare(clientv3.Version(prefix+"none"), "=", 0), true},
		{clientv3.Compare(clientv3.Value(prefix+"none"), "=", ""), false},
		{clientv3.Compare(clientv3.CreateRevision(prefix+"a"), "=", created), true},
		{clientv3.Compare(clientv3.ModRevision(prefix+"a"), "<", changed), false},
		{clientv3.Compare(clientv3.LeaseValue(prefix+"a"), "=", lease.ID), true},
		{clientv3.Compare(clientv3.Version(prefix), ">", 1).WithPrefix(), true},
		{clientv3.Compare(clientv3.Version(prefix), ">", 2).WithPrefix(), false},
	} {
		response, err := client.Txn(deadline(t)).If(test.cmp).
			Then(clientv3.OpGet(prefix + "a")).Else(clientv3.OpPut(prefix+"else", "x")).Commit()
		check(t, err)
		equal(t, fmt.Sprint("compare ", i), response.Succeeded, test.want)
	}
}

func TestTxnsNestAndSeeTheirOwnWrites(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	a, b := prefix+"a", prefix+"b"
	response, err := client.Txn(deadline(t)).Then(
		clientv3.OpPut(a, "1"),
		clientv3.OpGet(a),
		clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version(a), "=", 0)},
			[]clientv3.Op{clientv3.OpPut(b, "then")}, []clientv3.Op{clientv3.OpPut(b, "else")}),
		clientv3.OpGet(b),
		clientv3.OpDelete(b, clientv3.WithRange(b+"\x00"), clientv3.WithPrevKV()),
	).Commit()
	if err == nil {
		t.Fatal("a put inside a deleted range was accepted")
	}
	equal(t, "error", err, error(rpctypes.ErrDuplicateKey))
	response, err = client.Txn(deadline(t)).Then(
		clientv3.OpPut(a, "1"),
		clientv3.OpGet(a),
		clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version(a), "=", 0)},
			[]clientv3.Op{clientv3.OpPut(b, "then")}, []clientv3.Op{clientv3.OpPut(b, "else")}),
		clientv3.OpGet(b),
	).Commit()
	check(t, err)
	equal(t, "own write", string(response.Responses[1].GetResponseRange().Kvs[0].Value), "1")
	equal(t, "nested compare", response.Responses[2].GetResponseTxn().Succeeded, true)
	kv := response.Responses[3].GetResponseRange().Kvs[0]
	equal(t, "nested write", string(kv.Value), "then")
	equal(t, "one revision for all", kv.ModRevision, response.Header.Revision)
}

// The client finds its error values by the exact text.
func TestErrorsHaveEtcdsTexts(t *testing.T) {
	client, key := connect(t), prefix(t)+"a"
	revision := put(t, client, key, "1")
	many := make([]clientv3.Op, 129)
	for i := range many {
		many[i] = clientv3.OpGet(fmt.Sprint(key, i))
	}
	for want, call := range map[error]func() error{
		rpctypes.ErrEmptyKey:      func() error { _, err := client.Put(deadline(t), "", "x"); return err },
		rpctypes.ErrKeyNotFound:   func() error { _, err := client.Put(deadline(t), key+"?", "", clientv3.WithIgnoreValue()); return err },
		rpctypes.ErrValueProvided: func() error { _, err := client.Put(deadline(t), key, "x", clientv3.WithIgnoreValue()); return err },
		rpctypes.ErrLeaseProvided: func() error {
			_, err := client.Put(deadline(t), key, "x", clientv3.WithIgnoreLease(), clientv3.WithLease(1))
			return err
		},
		rpctypes.ErrLeaseNotFound: func() error { _, err := client.Put(deadline(t), key, "x", clientv3.WithLease(12345)); return err },
		rpctypes.ErrTooManyOps:    func() error { _, err := client.Txn(deadline(t)).Then(many...).Commit(); return err },
		rpctypes.ErrDuplicateKey: func() error {
			_, err := client.Txn(deadline(t)).Then(clientv3.OpPut(key, "1"), clientv3.OpPut(key, "2")).Commit()
			return err
		},
		rpctypes.ErrFutureRev: func() error { _, err := client.Get(deadline(t), key, clientv3.WithRev(revision+1000)); return err },
		rpctypes.ErrRequestTooLarge: func() error {
			_, err := client.Put(deadline(t), key, strings.Repeat("x", 1600<<10))
			return err
		},
	} {
		if err := call(); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	_, err := client.Compact(deadline(t), revision)
	check(t, err)
	_, err = client.Get(deadline(t), key, clientv3.WithRev(revision-1))
	equal(t, "below the compaction", err, error(rpctypes.ErrCompacted))
	_, err = client.Compact(deadline(t), revision)
	equal(t, "compacted twice", err, error(rpctypes.ErrCompacted))
	_, err = client.Compact(deadline(t), revision+1000)
	equal(t, "compaction of the future", err, error(rpctypes.ErrFutureRev))
	at, err := client.Get(deadline(t), key, clientv3.WithRev(revision))
	check(t, err)
	equal(t, "at the compaction", string(at.Kvs[0].Value), "1")
}

func TestRangeStreamEqualsRange(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	status, err := client.Status(deadline(t), endpoint(t))
	check(t, err)
	if semver.New(status.Version).LessThan(*semver.New("3.7.0")) {
		t.Skipf("etcd %s has no RangeStream", status.Version)
	}
	value := strings.Repeat("v", 2048)
	for start := 0; start < 3000; start += 100 {
		var ops []clientv3.Op
		for i := start; i < start+100; i++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%05d", prefix, i), value))
		}
		_, err := client.Txn(deadline(t)).Then(ops...).Commit()
		check(t, err)
	}
	stream, err := client.GetStream(deadline(t), prefix, clientv3.WithPrefix())
	check(t, err)
	chunks := 0
	counted := make(chan clientv3.RangeStreamResponse, 1)
	go func() {
		defer close(counted)
		for chunk := range stream {
			chunks++
			counted <- chunk
		}
	}()
	streamed, err := clientv3.GetStreamToGetResponse(counted)
	check(t, err)
	whole, err := client.Get(deadline(t), prefix, clientv3.WithPrefix())
	check(t, err)
	equal(t, "count", streamed.Count, whole.Count)
	equal(t, "pairs", len(streamed.Kvs), 3000)
	for i, kv := range streamed.Kvs {
		if string(kv.Key) != string(whole.Kvs[i].Key) || string(kv.Value) != value || kv.ModRevision != whole.Kvs[i].ModRevision {
			t.Fatalf("pair %d differs: %s", i, kv.Key)
		}
	}
	if chunks < 3 {
		t.Fatalf("6 MB came in %d chunks", chunks)
	}
}
