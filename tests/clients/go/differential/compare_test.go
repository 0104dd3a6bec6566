package differential_test

import (
	"bytes"
	"fmt"
	"sort"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Never compared: who answered, and when.
var identities = map[protoreflect.FullName]bool{
	"etcdserverpb.ResponseHeader.cluster_id": true,
	"etcdserverpb.ResponseHeader.member_id":  true,
	"etcdserverpb.ResponseHeader.raft_term":  true,
	"etcdserverpb.AlarmMember.memberID":      true,
	// Seconds that are left.
	"etcdserverpb.LeaseTimeToLiveResponse.TTL": true,
}

// In no order that etcd promises.
var unordered = map[protoreflect.FullName]bool{
	"etcdserverpb.LeaseTimeToLiveResponse.keys": true,
	"etcdserverpb.LeaseLeasesResponse.leases":   true,
}

// A known difference is a field, or an answer, that we give otherwise than etcd, and why. docs/etcd-compatibility.md
// lists the same.
var known = map[protoreflect.FullName]string{
	"etcdserverpb.StatusResponse.version":          "the newest etcd that we are compatible with, whatever etcd we are compared to",
	"etcdserverpb.StatusResponse.storageVersion":   "as version",
	"etcdserverpb.StatusResponse.dbSize":           "other files",
	"etcdserverpb.StatusResponse.dbSizeInUse":      "other files",
	"etcdserverpb.StatusResponse.dbSizeQuota":      "other files",
	"etcdserverpb.StatusResponse.leader":           "an id",
	"etcdserverpb.StatusResponse.raftIndex":        "our log has other entries: several proposals share one, cluster settings take none",
	"etcdserverpb.StatusResponse.raftAppliedIndex": "as raftIndex",
	"etcdserverpb.StatusResponse.raftTerm":         "a sole member needs no election",
	"etcdserverpb.StatusResponse.downgradeInfo":    "there is nothing to downgrade to",
}

// Not asked for, because the answers differ and what follows would too:
//   - a compare with a result or a target that does not exist: we refuse it (`invalid argument`). etcd takes an unknown
//     result as true and an unknown target as equal, so that a condition which nobody understood holds.
//   - the compaction of revision 0, or of nothing, on a store that never was compacted: etcd accepts it once, and it
//     does nothing; we answer that it has been compacted, as etcd does the second time.
//   - RangeStream with a sort target but no order: etcd sorts within each chunk, which is no order of the whole.
//   - HashKV of a revision below zero: etcd gives the hash of nothing, we that of the newest.
//   - HashKV at the compact revision, or at an earlier one: etcd's answer depends on whether the compaction's work is
//     done, and it keeps the hashes of some compactions, also below the compact revision, which we do not.
//   - the order of pairs that are alike in what they are sorted by, of more than twelve: etcd's sort leaves it open, we
//     keep the order of the keys.
//   - progress on a stream with a watch that was cancelled by a compaction: etcd sends none.
//   - what ends etcd: see TestWhatEndsEtcdDoesNotEndUs.

// difference is the first field in which two messages of one type differ, or nothing.
func difference(path string, ours, theirs protoreflect.Message) string {
	fields := ours.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if identities[field.FullName()] || known[field.FullName()] != "" {
			continue
		}
		here := path + "." + string(field.Name())
		switch {
		case field.IsList():
			a, b := ours.Get(field).List(), theirs.Get(field).List()
			if a.Len() != b.Len() {
				return fmt.Sprintf("%s: %d elements, etcd has %d", here, a.Len(), b.Len())
			}
			order := func(list protoreflect.List) []protoreflect.Value {
				values := make([]protoreflect.Value, list.Len())
				for i := range values {
					values[i] = list.Get(i)
				}
				if unordered[field.FullName()] {
					sort.Slice(values, func(i, j int) bool { return encoded(field, values[i]) < encoded(field, values[j]) })
				}
				return values
			}
			as, bs := order(a), order(b)
			for i := range as {
				if found := differ(fmt.Sprintf("%s[%d]", here, i), field, as[i], bs[i]); found != "" {
					return found
				}
			}
		case ours.Has(field) != theirs.Has(field):
			return fmt.Sprintf("%s: %s, etcd has %s", here, show(field, ours), show(field, theirs))
		case ours.Has(field):
			if found := differ(here, field, ours.Get(field), theirs.Get(field)); found != "" {
				return found
			}
		}
	}
	return ""
}

func differ(path string, field protoreflect.FieldDescriptor, ours, theirs protoreflect.Value) string {
	if field.Message() != nil {
		return difference(path, ours.Message(), theirs.Message())
	}
	if field.Kind() == protoreflect.BytesKind {
		if !bytes.Equal(ours.Bytes(), theirs.Bytes()) {
			return fmt.Sprintf("%s: %.80q, etcd has %.80q", path, ours.Bytes(), theirs.Bytes())
		}
	} else if !ours.Equal(theirs) {
		return fmt.Sprintf("%s: %v, etcd has %v", path, ours, theirs)
	}
	return ""
}

func encoded(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	if field.Message() != nil {
		bytes, _ := proto.MarshalOptions{Deterministic: true}.Marshal(value.Message().Interface())
		return string(bytes)
	}
	return value.String()
}

func show(field protoreflect.FieldDescriptor, message protoreflect.Message) string {
	if !message.Has(field) {
		return "nothing"
	}
	return fmt.Sprintf("%.200s", message.Get(field))
}

// answer is what a call gave: a message, or a code with a text.
type answer struct {
	message proto.Message
	err     error
}

// differs says how our answer differs from etcd's, or nothing.
func (ours answer) differs(theirs answer) string {
	a, b := status.Convert(ours.err), status.Convert(theirs.err)
	if a.Code() != b.Code() || a.Message() != b.Message() {
		return fmt.Sprintf("status: %v %q, etcd has %v %q", a.Code(), a.Message(), b.Code(), b.Message())
	}
	if ours.err != nil {
		return ""
	}
	return difference("", ours.message.ProtoReflect(), theirs.message.ProtoReflect())
}
