package differential_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// No answer takes longer than this.
const patience = 20 * time.Second

// server is one process and a connection to it, with the stubs as they are on the wire: no retries, no mapped errors.
type server struct {
	name        string
	process     *exec.Cmd
	kv          pb.KVClient
	lease       pb.LeaseClient
	watch       pb.WatchClient
	maintenance pb.MaintenanceClient
	auth        pb.AuthClient
	log         string
}

func kv(s *server) pb.KVClient                   { return s.kv }
func lease(s *server) pb.LeaseClient             { return s.lease }
func maintenance(s *server) pb.MaintenanceClient { return s.maintenance }
func auth(s *server) pb.AuthClient               { return s.auth }

// program returns the words of an environment variable.
func program(t testing.TB, variable string) []string {
	t.Helper()
	words := strings.Fields(os.Getenv(variable))
	if len(words) == 0 {
		t.Fatalf("%s is not set; tests/clients/run sets it", variable)
	}
	return words
}

// start runs the program in an empty directory, on ports that the kernel chose, until it answers.
func start(t testing.TB, name string, program []string) *server {
	t.Helper()
	var err error
	for range 3 { // a port may be taken meanwhile
		var started *server
		if started, err = attempt(t, name, program); err == nil {
			return started
		}
	}
	t.Fatal(err)
	return nil
}

func attempt(t testing.TB, name string, program []string) (*server, error) {
	urls := make([]string, 2)
	for i := range urls {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		urls[i] = listener.Addr().String()
		defer listener.Close()
		listener.Close()
	}
	directory := t.TempDir()
	logged := filepath.Join(directory, "log")
	output, err := os.Create(logged)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	client, peer := "http://"+urls[0], "http://"+urls[1]
	process := exec.Command(program[0], append(program[1:],
		"--name", "default", "--data-dir", filepath.Join(directory, "data"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)...)
	process.Stdout, process.Stderr = output, output
	if err := process.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- process.Wait() }()
	connection, err := grpc.NewClient(urls[0], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		connection.Close()
		process.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			process.Process.Kill()
			t.Errorf("%s did not stop", name)
		}
	})
	started := &server{
		name: name, process: process, log: logged, kv: pb.NewKVClient(connection), lease: pb.NewLeaseClient(connection),
		watch: pb.NewWatchClient(connection), maintenance: pb.NewMaintenanceClient(connection), auth: pb.NewAuthClient(connection),
	}
	for end := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := started.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")}, grpc.WaitForReady(true))
		cancel()
		if err == nil {
			return started, nil
		}
		select {
		case exit := <-exited:
			exited <- exit
			text, _ := os.ReadFile(logged)
			return nil, fmt.Errorf("%s stopped: %v: %s", name, exit, text)
		default:
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%s does not answer: %v", name, err)
		}
	}
}

// tail is the end of the server's log.
func (s *server) tail() string {
	text, _ := os.ReadFile(s.log)
	if at := bytes.Index(text, []byte("panic")); at >= 0 {
		text = text[:min(at+2000, len(text))]
	}
	return string(text[max(0, len(text)-2000):])
}
