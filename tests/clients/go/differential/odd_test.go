package differential_test

import (
	"context"
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Requests that no client sends. The first of them ends etcd 3.7; none may end us, or stay without an answer.
func TestWhatEndsEtcdDoesNotEndUs(t *testing.T) {
	s := start(t, "the server", program(t, "CLIENTS_SERVER"))
	key := []byte("key")
	deep := &pb.TxnRequest{}
	for range 90 {
		deep = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: deep}}}}
	}
	send(t, s, kv, pb.KVClient.Put, &pb.PutRequest{Key: key, Value: []byte("value")})
	for _, keep := range []*pb.PutRequest{{Key: key, IgnoreLease: true, Value: []byte("x")}, {Key: key, IgnoreValue: true}} {
		send(t, s, kv, pb.KVClient.Txn, &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: keep}},
		}})
	}
	send(t, s, kv, pb.KVClient.Txn, &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte("again")}}},
	}})
	there, err := s.kv.Range(deadline(t), &pb.RangeRequest{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, kv, pb.KVClient.Compact, &pb.CompactionRequest{Revision: there.Header.Revision, Physical: true})
	after, err := s.kv.Range(deadline(t), &pb.RangeRequest{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if found := difference("after a compaction", after.ProtoReflect(), there.ProtoReflect()); found != "" {
		t.Fatal(found)
	}
	send(t, s, kv, pb.KVClient.Txn, deep)
	send(t, s, kv, pb.KVClient.Txn, &pb.TxnRequest{Success: []*pb.RequestOp{{}}, Compare: []*pb.Compare{{}}})
	send(t, s, kv, pb.KVClient.Txn, &pb.TxnRequest{Compare: []*pb.Compare{{Key: key, Result: 9}, {Key: key, Target: 9}}})
	for _, number := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64} {
		send(t, s, kv, pb.KVClient.Range, &pb.RangeRequest{Key: key, Limit: number})
		send(t, s, kv, pb.KVClient.Range, &pb.RangeRequest{Key: key, Revision: number})
		send(t, s, kv, pb.KVClient.Range, &pb.RangeRequest{Key: key, SortOrder: pb.RangeRequest_SortOrder(int32(number)), SortTarget: pb.RangeRequest_SortTarget(int32(number))})
		send(t, s, kv, pb.KVClient.Range, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, MinModRevision: number, MaxCreateRevision: number, Limit: number})
		send(t, s, kv, pb.KVClient.Put, &pb.PutRequest{Key: key, Lease: number})
		send(t, s, lease, pb.LeaseClient.LeaseGrant, &pb.LeaseGrantRequest{ID: number, TTL: 1000})
		send(t, s, lease, pb.LeaseClient.LeaseGrant, &pb.LeaseGrantRequest{TTL: number})
		send(t, s, kv, pb.KVClient.Put, &pb.PutRequest{Key: key, Lease: number})
		send(t, s, lease, pb.LeaseClient.LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: number, Keys: true})
		send(t, s, lease, pb.LeaseClient.LeaseRevoke, &pb.LeaseRevokeRequest{ID: number})
		send(t, s, kv, pb.KVClient.Compact, &pb.CompactionRequest{Revision: number, Physical: true})
		send(t, s, maintenance, pb.MaintenanceClient.HashKV, &pb.HashKVRequest{Revision: number})
		send(t, s, maintenance, pb.MaintenanceClient.MoveLeader, &pb.MoveLeaderRequest{TargetID: uint64(number)})
		send(t, s, maintenance, pb.MaintenanceClient.Alarm, &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(int32(number)), MemberID: uint64(number)})
		send(t, s, kv, pb.KVClient.Put, &pb.PutRequest{Key: key, Value: []byte("value")})
		watchOddly(t, s, number)
	}
	send(t, s, maintenance, pb.MaintenanceClient.Alarm, &pb.AlarmRequest{Alarm: 9, Action: pb.AlarmRequest_ACTIVATE})
	snapshot, err := s.maintenance.Snapshot(deadline(t), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	snapshot.Recv() // and go away in its middle
	send(t, s, kv, pb.KVClient.Range, &pb.RangeRequest{Key: key})
}

func watchOddly(t *testing.T, s *server, number int64) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := s.watch.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []*pb.WatchRequest{
		{},
		{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: number}}},
		{RequestUnion: &pb.WatchRequest_ProgressRequest{}},
		{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{WatchId: number}}},
		{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("key"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_FilterType(int32(number))}}}},
		{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("key"), StartRevision: number}}},
	} {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
	}
	for created := 0; created < 3; {
		response, err := stream.Recv()
		if err != nil {
			t.Fatalf("watch with %d: %v", number, err)
		}
		if response.Created {
			created++
		}
	}
}

// send wants an answer, whatever it is, from a server that is still there.
func send[C any, Q, A proto.Message](t *testing.T, s *server, service func(*server) C, method func(C, context.Context, Q, ...grpc.CallOption) (A, error), request Q) {
	t.Helper()
	_, err := method(service(s), deadline(t), request)
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Internal {
		t.Fatalf("%T %.300v: %v\n%s", request, request, err, s.tail())
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
