// Package differential_test sends the same requests to a real etcd and to a server that must not be told apart from it.
//
//	ETCD             the reference
//	CLIENTS_SERVER   the server under test
//	COFFER_SEED      replays one seed
//	COFFER_CASES     how many seeds (10; 100 if CLIENTS_LONG is set)
package differential_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const requestsPerSeed = 400

func TestBothAnswerTheSame(t *testing.T) {
	ours, theirs := program(t, "CLIENTS_SERVER"), program(t, "ETCD")
	version, err := exec.Command(theirs[0], append(theirs[1:], "--version")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the reference is %.19s", version)
	first, count := uint64(1), 10
	if os.Getenv("CLIENTS_LONG") != "" {
		count = 100
	}
	if cases := os.Getenv("COFFER_CASES"); cases != "" {
		if count, err = strconv.Atoi(cases); err != nil {
			t.Fatal(err)
		}
	}
	if seed := os.Getenv("COFFER_SEED"); seed != "" {
		if first, err = strconv.ParseUint(seed, 10, 64); err != nil {
			t.Fatal(err)
		}
		count = 1
	} else {
		t.Logf("COFFER_CASES=%d", count)
	}
	for seed := first; seed < first+uint64(count); seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			run := &run{
				T: t, seed: seed, generator: &generator{Rand: rand.New(rand.NewPCG(seed, 0)), revision: 1, compactions: map[int64]bool{}},
				ours: start(t, "the server", ours), theirs: start(t, "etcd", theirs),
			}
			for i := range 3 {
				run.pairs[i] = &pair{ours: open(t, run.ours), theirs: open(t, run.theirs), live: map[int64]*pb.WatchCreateRequest{}}
			}
			for run.step = range requestsPerSeed {
				run.one()
			}
			run.finish()
		})
	}
}

// run is one seed.
type run struct {
	*testing.T
	*generator
	seed         uint64
	step         int
	ours, theirs *server
	pairs        [3]*pair
}

// call sends one request to both and compares.
func (r *run) call(what string, request proto.Message, send func(*server) (proto.Message, error)) answer {
	r.Helper()
	message, err := send(r.theirs)
	theirs := answer{message, err}
	if status.Code(err) == codes.Unavailable {
		r.failed(what, request, "etcd itself is gone: "+err.Error()+"; "+r.theirs.tail())
	}
	message, err = send(r.ours)
	if found := (answer{message, err}).differs(theirs); found != "" {
		r.failed(what, request, found)
	}
	if headed, ok := theirs.message.(interface{ GetHeader() *pb.ResponseHeader }); ok && theirs.err == nil {
		r.revision = max(r.revision, headed.GetHeader().GetRevision())
	}
	return theirs
}

func (r *run) failed(what string, request proto.Message, found string) {
	r.Helper()
	r.Fatalf("%s\n  at step %d, revision %d, compacted at %d: %s %.2000v\n  replay: COFFER_SEED=%d tests/clients/run differential\n  our log ends: %s",
		found, r.step, r.revision, r.compacted, what, request, r.seed, r.ours.tail())
}

// ask calls one method of one service on both.
func ask[C any, Q, A proto.Message](r *run, what string, service func(*server) C, method func(C, context.Context, Q, ...grpc.CallOption) (A, error), request Q) answer {
	r.Helper()
	return r.call(what, request, func(s *server) (proto.Message, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return method(service(s), ctx, request)
	})
}

func (r *run) one() {
	switch kind := r.IntN(100); {
	case kind < 28:
		request := r.put()
		ask(r, "put", kv, pb.KVClient.Put, request)
	case kind < 36:
		request := r.deleteRange()
		ask(r, "delete", kv, pb.KVClient.DeleteRange, request)
	case kind < 52:
		request := r.rangeRequest()
		ask(r, "range", kv, pb.KVClient.Range, request)
	case kind < 55:
		request := r.rangeRequest()
		if request.SortOrder == pb.RangeRequest_NONE {
			request.SortTarget = pb.RangeRequest_KEY // see the table of known differences
		}
		r.call("range stream", request, func(s *server) (proto.Message, error) { return s.rangeStream(request) })
	case kind < 72:
		request := r.txn(2)
		ask(r, "txn", kv, pb.KVClient.Txn, request)
	case kind < 82:
		r.leases()
	case kind < 86:
		for _, pair := range r.pairs { // what a watch has not read yet would be lost, sooner or later
			if !pair.settles(r.revision) {
				return
			}
			if found := pair.settle(r.revision); found != "" {
				r.failed("watch, before a compaction", &pb.WatchRequest{}, found)
			}
		}
		request := r.compact()
		answer := ask(r, "compact", kv, pb.KVClient.Compact, request)
		if answer.err == nil {
			r.compacted = request.Revision
			r.compactions[r.compacted] = true
		}
	case kind < 94:
		r.watches()
	default:
		r.maintenance()
	}
}

func (r *run) leases() {
	switch r.IntN(6) {
	case 0, 1:
		request := r.grant()
		ask(r, "lease grant", lease, pb.LeaseClient.LeaseGrant, request)
	case 2:
		request := &pb.LeaseRevokeRequest{ID: r.lease()}
		if r.chance(30) { // one with the shortest life, which does not last
			short := &pb.LeaseGrantRequest{ID: 777, TTL: one[int64](r.generator, 0, -1, 1, 2)}
			ask(r, "lease grant", lease, pb.LeaseClient.LeaseGrant, short)
			request.ID = 777
		}
		ask(r, "lease revoke", lease, pb.LeaseClient.LeaseRevoke, request)
	case 3:
		request := &pb.LeaseTimeToLiveRequest{ID: r.lease(), Keys: r.chance(50)}
		ask(r, "lease time to live", lease, pb.LeaseClient.LeaseTimeToLive, request)
	case 4:
		request := &pb.LeaseLeasesRequest{}
		ask(r, "leases", lease, pb.LeaseClient.LeaseLeases, request)
	default:
		request := &pb.LeaseKeepAliveRequest{ID: r.lease()}
		r.call("lease keep alive", request, func(s *server) (proto.Message, error) { return s.keepAlive(request) })
	}
}

func (r *run) maintenance() {
	switch r.IntN(6) {
	case 0, 1:
		request := &pb.HashKVRequest{Revision: max(r.at(), 0)} // below zero etcd hashes nothing, we the newest
		if at := request.Revision; r.compactions[at] || at == 0 && r.revision == r.compacted {
			return // see the table of known differences
		}
		ask(r, "hash kv", maintenance, pb.MaintenanceClient.HashKV, request)
	case 2:
		request := &pb.StatusRequest{}
		ask(r, "status", maintenance, pb.MaintenanceClient.Status, request)
	case 3:
		r.alarm(pb.AlarmRequest_GET, pb.AlarmType_NONE)
		alarm := one(r.generator, pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT)
		r.alarm(pb.AlarmRequest_ACTIVATE, alarm)
		r.alarm(pb.AlarmRequest_GET, alarm)
		put, txn, get, delete := r.put(), r.txn(1), r.rangeRequest(), r.deleteRange()
		ask(r, "put under an alarm", kv, pb.KVClient.Put, put)
		ask(r, "txn under an alarm", kv, pb.KVClient.Txn, txn)
		ask(r, "range under an alarm", kv, pb.KVClient.Range, get)
		ask(r, "delete under an alarm", kv, pb.KVClient.DeleteRange, delete)
		r.alarm(pb.AlarmRequest_DEACTIVATE, alarm)
		r.alarm(pb.AlarmRequest_DEACTIVATE, alarm)
	case 4:
		request := &pb.MoveLeaderRequest{TargetID: 12345}
		ask(r, "move leader", maintenance, pb.MaintenanceClient.MoveLeader, request)
	case 5:
		request := &pb.AuthStatusRequest{}
		ask(r, "auth status", auth, pb.AuthClient.AuthStatus, request)
	}
}

func (r *run) alarm(action pb.AlarmRequest_AlarmAction, alarm pb.AlarmType) {
	request := &pb.AlarmRequest{Action: action, Alarm: alarm}
	ask(r, "alarm", maintenance, pb.MaintenanceClient.Alarm, request)
}

func (r *run) watches() {
	pair := one(r.generator, r.pairs[:]...)
	switch {
	case r.chance(70):
		create := r.watch()
		request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}
		if create.StartRevision > 0 && create.StartRevision < r.compacted {
			r.watchThePast(request)
			return
		}
		if id := r.watchControl(pair, request).WatchId; id != -1 {
			pair.live[id] = create
		}
	case r.chance(50) && len(pair.live) > 0:
		id := one(r.generator, slices.Sorted(maps.Keys(pair.live))...)
		if found := pair.settle(r.revision); found != "" { // events that are on their way may come or not
			r.failed("watch, before a cancel", &pb.WatchRequest{}, found)
		}
		if _, live := pair.live[id]; live {
			r.watchControl(pair, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
			delete(pair.live, id)
		}
	default:
		if found := pair.settle(r.revision); found != "" {
			r.failed("watch", &pb.WatchRequest{}, found)
		}
	}
}

func (r *run) watchControl(pair *pair, request *pb.WatchRequest) *pb.WatchResponse {
	theirs, err := pair.theirs.control(request)
	if err != nil {
		r.failed("watch", request, "etcd: "+err.Error())
	}
	ours, err := pair.ours.control(request)
	if err != nil {
		r.failed("watch", request, err.Error())
	}
	if found := difference("", ours.ProtoReflect(), theirs.ProtoReflect()); found != "" {
		r.failed("watch", request, found)
	}
	return theirs
}

// watchThePast asks for what is compacted, on a stream of its own: etcd sends no progress on a stream that had such a watch.
func (r *run) watchThePast(request *pb.WatchRequest) {
	past := &pair{ours: open(r.T, r.ours), theirs: open(r.T, r.theirs)}
	if r.watchControl(past, request).WatchId == -1 {
		return
	}
	for _, watcher := range []*watcher{past.theirs, past.ours} {
		response, err := watcher.next(patience)
		if err != nil {
			r.failed("watch of the past", request, err.Error())
		}
		watcher.keep(response)
	}
	if found := past.compare(); found != "" {
		r.failed("watch of the past", request, found)
	}
}

// finish moves on until every watch has begun, and compares what they saw, and the whole store.
func (r *run) finish() {
	for i := range 10 {
		request := &pb.PutRequest{Key: []byte("a"), Value: []byte(fmt.Sprint("last ", i))}
		ask(r, "put", kv, pb.KVClient.Put, request)
	}
	for _, pair := range r.pairs {
		if found := pair.settle(r.revision); found != "" {
			r.failed("watch, at the end", &pb.WatchRequest{}, found)
		}
	}
	for revision := max(1, r.compacted); revision <= r.revision; revision++ {
		everything := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: revision}
		ask(r, "everything", kv, pb.KVClient.Range, everything)
	}
	hash := &pb.HashKVRequest{} // the newest, which is above the compaction
	ask(r, "hash kv", maintenance, pb.MaintenanceClient.HashKV, hash)
}

// rangeStream merges the chunks, as a client does.
func (s *server) rangeStream(request *pb.RangeRequest) (*pb.RangeResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := s.kv.RangeStream(ctx, request)
	if err != nil {
		return nil, err
	}
	merged := &pb.RangeResponse{}
	for {
		chunk, err := stream.Recv()
		if err == io.EOF {
			return merged, nil
		}
		if err != nil {
			return nil, err
		}
		proto.Merge(merged, chunk.RangeResponse)
	}
}

func (s *server) keepAlive(request *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := s.lease.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(request); err != nil {
		return nil, err
	}
	response, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return response, stream.CloseSend()
}
