package differential_test

import (
	"math/rand/v2"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// generator draws requests. It knows what both servers said so far, so that revisions and leases are worth asking for.
type generator struct {
	*rand.Rand
	revision, compacted int64
	compactions         map[int64]bool
}

// one of these.
func one[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// chance is true in `percent` of all cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// A few keys, so that requests meet: prefixes of each other, with the smallest and the largest byte. Up to twelve etcd
// leaves those that sort alike in the order of their keys, as we do for any number.
func (g *generator) key() []byte {
	if g.chance(1) {
		return nil
	}
	return []byte(one(g, "a", "a\x00", "ab", "b", "b/1", "b/2", "b/2/x", "b0", "c", "\x00", "\xff", "\xff\xff"))
}

// The ends that clients send, and some that make no sense.
func (g *generator) end(key []byte) []byte {
	switch g.IntN(8) {
	case 0:
		return []byte{0}
	case 1, 2: // prefix
		end := append([]byte(nil), key...)
		for i := len(end) - 1; i >= 0; i-- {
			if end[i] < 0xff {
				end[i]++
				return end[:i+1]
			}
		}
		return []byte{0}
	case 3:
		return append(append([]byte(nil), key...), 0)
	case 4:
		return g.key()
	default:
		return nil
	}
}

func (g *generator) value() []byte {
	switch g.IntN(40) {
	case 0:
		return nil
	case 1:
		return []byte(strings.Repeat("v", 20_000))
	case 2:
		if g.chance(10) {
			return []byte(strings.Repeat("v", 1_600_000)) // more than a request may have
		}
	}
	return []byte(one(g, "1", "2", "3", "10", "x\x00y", "\xff"))
}

func (g *generator) lease() int64 {
	if g.chance(70) {
		return 0
	}
	return one[int64](g, 1, 2, 3, 4, -7, 99)
}

// A revision to read at: mostly one that is there.
func (g *generator) at() int64 {
	switch g.IntN(8) {
	case 0:
		return g.compacted
	case 1:
		return g.compacted - 1
	case 2:
		return g.revision + one[int64](g, 0, 1, 5)
	case 3, 4:
		return g.compacted + g.Int64N(max(1, g.revision-g.compacted+1))
	case 5:
		return -1
	default:
		return 0
	}
}

func (g *generator) filter() int64 {
	if g.chance(85) {
		return 0
	}
	return g.Int64N(g.revision + 2)
}

func (g *generator) rangeRequest() *pb.RangeRequest {
	key := g.key()
	request := &pb.RangeRequest{
		Key: key, RangeEnd: g.end(key), Revision: g.at(), Serializable: g.chance(20), KeysOnly: g.chance(20),
		CountOnly: g.chance(10), MinModRevision: g.filter(), MaxModRevision: g.filter(),
		MinCreateRevision: g.filter(), MaxCreateRevision: g.filter(),
	}
	if g.chance(50) {
		request.Limit = one[int64](g, 1, 2, 3, 5, 100, -1)
	}
	if g.chance(40) {
		request.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		request.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
		if g.chance(5) {
			request.SortOrder = 7
		}
		if g.chance(5) {
			request.SortTarget = -3
		}
	}
	return request
}

func (g *generator) put() *pb.PutRequest {
	request := &pb.PutRequest{Key: g.key(), Value: g.value(), Lease: g.lease(), PrevKv: g.chance(30)}
	if g.chance(8) {
		request.IgnoreValue = true
		if g.chance(70) {
			request.Value = nil
		}
	}
	if g.chance(8) {
		request.IgnoreLease = true
		if g.chance(70) {
			request.Lease = 0
		}
	}
	return request
}

func (g *generator) deleteRange() *pb.DeleteRangeRequest {
	key := g.key()
	return &pb.DeleteRangeRequest{Key: key, RangeEnd: g.end(key), PrevKv: g.chance(40)}
}

func (g *generator) compare() *pb.Compare {
	key := g.key()
	compare := &pb.Compare{Key: key, Result: pb.Compare_CompareResult(g.IntN(4)), Target: pb.Compare_CompareTarget(g.IntN(5))}
	if g.chance(30) {
		compare.RangeEnd = g.end(key)
	}
	target := compare.Target
	if g.chance(3) {
		target = pb.Compare_CompareTarget(g.IntN(5)) // a value of another kind than the target
	}
	number := one(g, 0, 1, 2, g.revision, g.Int64N(g.revision+1), -1)
	switch target {
	case pb.Compare_VERSION:
		compare.TargetUnion = &pb.Compare_Version{Version: number}
	case pb.Compare_CREATE:
		compare.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: number}
	case pb.Compare_MOD:
		compare.TargetUnion = &pb.Compare_ModRevision{ModRevision: number}
	case pb.Compare_VALUE:
		compare.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		compare.TargetUnion = &pb.Compare_Lease{Lease: g.lease()}
	}
	if g.chance(2) {
		compare.TargetUnion = nil
	}
	return compare
}

func (g *generator) operations(depth int) []*pb.RequestOp {
	count := g.IntN(4)
	if g.chance(1) {
		count = 129
	}
	var operations []*pb.RequestOp
	for range count {
		operation := &pb.RequestOp{}
		switch kind := g.IntN(10); {
		case kind < 3:
			operation.Request = &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}
		case kind < 6:
			operation.Request = &pb.RequestOp_RequestPut{RequestPut: g.put()}
		case kind < 8:
			operation.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deleteRange()}
		case depth > 0:
			operation.Request = &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}
		case g.chance(10): // an operation that is nothing
		default:
			operation.Request = &pb.RequestOp_RequestPut{RequestPut: g.put()}
		}
		operations = append(operations, operation)
	}
	return operations
}

func (g *generator) txn(depth int) *pb.TxnRequest {
	request := &pb.TxnRequest{Success: g.operations(depth), Failure: g.operations(depth)}
	for range g.IntN(3) {
		request.Compare = append(request.Compare, g.compare())
	}
	if deletes(request) {
		soften(request)
	}
	return request
}

// A txn may not delete and put one key, but etcd 3.7 does not see it if the delete is of all keys from one on. Then it
// ends: at once if the put keeps value or lease, or at a read after a compaction. TestWhatEndsEtcdDoesNotEndUs has both.
func deletes(txn *pb.TxnRequest) bool {
	return slices.ContainsFunc(slices.Concat(txn.Success, txn.Failure), func(operation *pb.RequestOp) bool {
		return operation.GetRequestDeleteRange() != nil || operation.GetRequestTxn() != nil && deletes(operation.GetRequestTxn())
	})
}

func soften(txn *pb.TxnRequest) {
	for _, operation := range slices.Concat(txn.Success, txn.Failure) {
		if put := operation.GetRequestPut(); put != nil {
			put.IgnoreLease, put.IgnoreValue = false, false
		} else if delete := operation.GetRequestDeleteRange(); delete != nil && string(delete.RangeEnd) == "\x00" {
			delete.RangeEnd = []byte("\xff\xff\xff")
		} else if inner := operation.GetRequestTxn(); inner != nil {
			soften(inner)
		}
	}
}

func (g *generator) grant() *pb.LeaseGrantRequest {
	request := &pb.LeaseGrantRequest{ID: one[int64](g, 1, 2, 3, 4, -7), TTL: one[int64](g, 1000, 5000, 9_000_000_000)}
	if g.chance(5) {
		request.TTL = 9_000_000_001
	}
	return request
}

func (g *generator) compact() *pb.CompactionRequest {
	revision := g.at()
	if g.chance(50) { // a little at a time, so that there is a past
		revision = min(g.compacted+1+g.Int64N(8), g.revision)
	}
	if g.compacted == 0 {
		revision = max(1, revision) // see the table of known differences
	}
	return &pb.CompactionRequest{Revision: revision, Physical: g.chance(50)}
}

func (g *generator) watch() *pb.WatchCreateRequest {
	key := g.key()
	request := &pb.WatchCreateRequest{Key: key, RangeEnd: g.end(key), PrevKv: g.chance(50), Fragment: g.chance(30)}
	switch g.IntN(6) {
	case 0:
		request.StartRevision = one(g, g.compacted, g.compacted-1, -1, g.revision, g.revision+1, g.revision+3)
	case 1, 2:
		request.StartRevision = g.compacted + g.Int64N(max(1, g.revision-g.compacted+1))
	}
	if g.chance(30) {
		request.WatchId = one[int64](g, 1, 2, 3, 100, -5)
	}
	if g.chance(20) {
		request.Filters = append(request.Filters, pb.WatchCreateRequest_FilterType(g.IntN(2)))
	}
	if g.chance(2) {
		request.Filters = append(request.Filters, 9)
	}
	return request
}
