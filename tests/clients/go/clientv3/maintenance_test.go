package clientv3_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestStatusHasAVersionThatKubernetesUnderstands(t *testing.T) {
	client := connect(t)
	put(t, client, prefix(t)+"a", "1")
	status, err := client.Status(deadline(t), endpoint(t))
	check(t, err)
	parts := strings.Split(status.Version, ".")
	equal(t, "parts of "+status.Version, len(parts), 3)
	for _, part := range parts {
		_, err := strconv.Atoi(part)
		check(t, err)
	}
	if status.DbSize <= 0 || status.DbSizeInUse <= 0 || status.Leader == 0 || status.RaftTerm == 0 || status.RaftIndex == 0 {
		t.Fatalf("a field is empty: %v", status)
	}
	equal(t, "leader", status.Leader, status.Header.MemberId)
	equal(t, "errors", len(status.Errors), 0)
	equal(t, "learner", status.IsLearner, false)
}

func TestTheClusterHasThisMember(t *testing.T) {
	client := connect(t)
	list, err := client.MemberList(deadline(t))
	check(t, err)
	equal(t, "members", len(list.Members), members())
	found := false
	for _, member := range list.Members {
		found = found || member.ID == list.Header.MemberId
		if len(member.ClientURLs) == 0 || len(member.PeerURLs) == 0 || member.Name == "" {
			t.Fatalf("a field is empty: %v", member)
		}
	}
	equal(t, "this member is listed", found, true)
	check(t, client.Sync(deadline(t)))
	equal(t, "endpoints", len(client.Endpoints()), members())
	equal(t, "this endpoint is known", slices.Contains(client.Endpoints(), "http://"+endpoint(t)), true)
}

func TestHashKVIsOfARevision(t *testing.T) {
	client, key := connect(t), prefix(t)+"a"
	revision := put(t, client, key, "1")
	before, err := client.HashKV(deadline(t), endpoint(t), revision)
	check(t, err)
	put(t, client, key, "2")
	same, err := client.HashKV(deadline(t), endpoint(t), revision)
	check(t, err)
	newest, err := client.HashKV(deadline(t), endpoint(t), 0)
	check(t, err)
	equal(t, "hash", same.Hash, before.Hash)
	if newest.Hash == before.Hash {
		t.Fatal("the hash did not change")
	}
	_, err = client.HashKV(deadline(t), endpoint(t), revision+1000)
	equal(t, "future", err, error(rpctypes.ErrFutureRev))
}

func TestASnapshotIsADatabaseWithItsHash(t *testing.T) {
	client := connect(t)
	marker := prefix(t) + "in the snapshot"
	put(t, client, marker, strings.Repeat("x", 1<<20))
	reader, err := client.Snapshot(deadline(t))
	check(t, err)
	defer reader.Close()
	file, err := io.ReadAll(reader)
	check(t, err)
	equal(t, "size", len(file)%512, sha256.Size)
	body := file[:len(file)-sha256.Size]
	sum := sha256.Sum256(body)
	equal(t, "hash", string(sum[:]), string(file[len(body):]))
	equal(t, "has the key", bytes.Contains(body, []byte(marker)), true)
}

func TestAlarmsDefragmentAndHealth(t *testing.T) {
	client := connect(t)
	alarms, err := client.AlarmList(deadline(t))
	check(t, err)
	equal(t, "alarms", len(alarms.Alarms), 0)
	_, err = client.Defragment(deadline(t), endpoint(t))
	check(t, err)
	response, err := healthpb.NewHealthClient(client.ActiveConnection()).Check(deadline(t), &healthpb.HealthCheckRequest{})
	check(t, err)
	equal(t, "health", response.Status, healthpb.HealthCheckResponse_SERVING)
}

func TestMovingTheLeadershipNowhereIsRefused(t *testing.T) {
	client := connect(t)
	_, err := client.MoveLeader(deadline(t), 12345)
	equal(t, "error", err, error(rpctypes.ErrBadLeaderTransferee))
}
