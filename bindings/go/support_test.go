package coffer

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A test that waits longer than this has failed.
const patience = 30 * time.Second

// What a daemon is tested with: COFFER_TEST_ENDPOINTS names one that runs and holds nothing of value (host:port,… or a URI),
// COFFER_TEST_PROGRAM the program `coffer`, of which the tests start their own. Without either, only embedded stores are.
var (
	remoteEndpoints = os.Getenv("COFFER_TEST_ENDPOINTS")
	remoteProgram   = os.Getenv("COFFER_TEST_PROGRAM")
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if remoteEndpoints == "" && remoteProgram != "" {
			dir, err := os.MkdirTemp("", "coffer-go")
			if err != nil {
				panic(err)
			}
			defer os.RemoveAll(dir)
			daemon, err := startDaemon(dir, "coffer://127.0.0.1:0")
			if err != nil {
				panic(err)
			}
			defer daemon.stop()
			remoteEndpoints = daemon.uri
		}
		return m.Run()
	}())
}

// A daemon is a process of the program, on a store in the clear.
type daemon struct {
	process *exec.Cmd
	uri     string
}

// startDaemon waits until the daemon says that it is ready.
func startDaemon(dir, listen string) (*daemon, error) {
	process := exec.Command(remoteProgram, "serve", "--unsealed", "--data-dir", dir, "--listen-client-urls", listen)
	process.Stderr = os.Stderr
	output, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if _, urls, ready := strings.Cut(lines.Text(), "listen="); ready {
			return &daemon{process, strings.Fields(urls)[0]}, nil
		}
	}
	return nil, fmt.Errorf("the daemon ended: %v", process.Wait())
}

func (d *daemon) stop() {
	d.process.Process.Kill()
	d.process.Wait()
}

// keyFile is a key that seals the stores of a run.
var keyFile = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "coffer-go-key")
	if err != nil {
		panic(err)
	}
	path := filepath.Join(dir, "key")
	if err := GenerateKey(path); err != nil {
		panic(err)
	}
	return path
})

// A place is where a store may be.
type place struct {
	name    string
	options []Option
	uri     func(t testing.TB) string
}

func inDirectory(t testing.TB) string { return "file://" + t.TempDir() + "/store" }

// places are all kinds of stores that this run can open.
func places() []place {
	sealed := []Option{WithKeyFile(keyFile())}
	all := []place{
		{"mem", nil, func(testing.TB) string { return "mem:" }},
		{"segment", sealed, inDirectory},
		{"sqlite", append([]Option{WithBackend("sqlite")}, sealed...), inDirectory},
	}
	if remoteEndpoints != "" {
		uri := remoteEndpoints
		if !strings.Contains(uri, "://") {
			uri = "coffer://" + uri
		}
		all = append(all, place{"remote", nil, func(testing.TB) string { return uri }})
	}
	return all
}

func (p place) open(t testing.TB) *Store {
	t.Helper()
	return openStore(t, p.uri(t), p.options...)
}

func openStore(t testing.TB, uri string, options ...Option) *Store {
	t.Helper()
	store, err := Open(deadline(t), uri, options...)
	check(t, err)
	t.Cleanup(func() { check(t, store.Close()) })
	return store
}

// everywhere runs a test on every kind of store.
func everywhere(t *testing.T, test func(t *testing.T, store *Store)) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) { test(t, p.open(t)) })
	}
}

// everywhereAtOnce does the same, on all at once: for tests that mostly wait.
func everywhereAtOnce(t *testing.T, test func(t *testing.T, store *Store)) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p.open(t))
		})
	}
}

// deadline is a context with the deadline of the whole test.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// prefix is one that only this test uses, also of a daemon that outlives it.
func prefix(t testing.TB) string {
	return fmt.Sprintf("go/%s/%d/", t.Name(), time.Now().UnixNano())
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

// put returns the revision of the write.
func put(t testing.TB, store *Store, key, value string, options ...PutOption) int64 {
	t.Helper()
	answer, err := store.Put(deadline(t), key, []byte(value), options...)
	check(t, err)
	return answer.Revision
}

func get(t testing.TB, store *Store, key string) string {
	t.Helper()
	kv, err := store.Get(deadline(t), key)
	check(t, err)
	return string(kv.Value)
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("it never was so: %s", what)
		}
	}
}
