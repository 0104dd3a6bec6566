// Package clientv3_test drives a server with the Go client of etcd's authors: the one that Kubernetes uses.
package clientv3_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A test that waits longer than this has failed.
const patience = 20 * time.Second

func endpoint(t testing.TB) string {
	t.Helper()
	endpoint := os.Getenv("ENDPOINT")
	if endpoint == "" {
		t.Fatal("ENDPOINT is not set; tests/clients/run sets it")
	}
	return endpoint
}

// How many members the cluster has; one unless tests/clients/run says otherwise.
func members() int {
	count, err := strconv.Atoi(os.Getenv("MEMBERS"))
	if err != nil {
		return 1
	}
	return count
}

func config(t testing.TB) clientv3.Config {
	return clientv3.Config{
		Endpoints: []string{endpoint(t)}, DialTimeout: patience, Logger: zap.NewNop(),
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
	}
}

func connect(t testing.TB) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(config(t))
	check(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

// context with the deadline of the whole test.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// A prefix that only this test uses.
func prefix(t testing.TB) string { return "/" + t.Name() + "/" }

// put returns the revision of the write.
func put(t testing.TB, client *clientv3.Client, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	response, err := client.Put(deadline(t), key, value, opts...)
	check(t, err)
	return response.Header.Revision
}

// receive waits for the next answer of a watch that is not an error.
func receive(t testing.TB, watch clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case response, open := <-watch:
		if !open {
			t.Fatal("the watch's channel is closed")
		}
		check(t, response.Err())
		return response
	case <-time.After(patience):
		t.Fatal("no answer of the watch in time")
		panic("unreachable")
	}
}

// events collects this many events, whatever answers they come in.
func events(t testing.TB, watch clientv3.WatchChan, count int) []*clientv3.Event {
	t.Helper()
	var events []*clientv3.Event
	for len(events) < count {
		events = append(events, receive(t, watch).Events...)
	}
	equal(t, "events", len(events), count)
	return events
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
