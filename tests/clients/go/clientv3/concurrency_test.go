package clientv3_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func session(t testing.TB, client *clientv3.Client) *concurrency.Session {
	t.Helper()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	check(t, err)
	t.Cleanup(func() { session.Close() })
	return session
}

func TestAMutexExcludes(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	holders, entries := 0, 0
	var mutex sync.Mutex // for the two counters only
	var group sync.WaitGroup
	for range 5 {
		session := session(t, client)
		group.Go(func() {
			for range 4 {
				lock := concurrency.NewMutex(session, prefix)
				if err := lock.Lock(deadline(t)); err != nil {
					t.Error(err)
					return
				}
				mutex.Lock()
				holders++
				entries++
				if holders != 1 {
					t.Errorf("%d hold the lock", holders)
				}
				mutex.Unlock()
				owned, err := client.Txn(deadline(t)).If(lock.IsOwner()).Commit()
				if err != nil || !owned.Succeeded {
					t.Error("the holder does not own the lock", err)
				}
				mutex.Lock()
				holders--
				mutex.Unlock()
				if err := lock.Unlock(deadline(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	equal(t, "entries", entries, 20)
}

func TestTryLockAndTheLockOfAnEndedSession(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	one, two := session(t, client), session(t, client)
	held, wanted := concurrency.NewMutex(one, prefix), concurrency.NewMutex(two, prefix)
	check(t, held.TryLock(deadline(t)))
	equal(t, "second", wanted.TryLock(deadline(t)), concurrency.ErrLocked)
	waiting := make(chan error, 1)
	go func() { waiting <- wanted.Lock(deadline(t)) }()
	check(t, one.Close()) // revokes the lease
	check(t, <-waiting)
	check(t, wanted.Unlock(deadline(t)))
}

func TestAnElectionHasOneLeaderAtATime(t *testing.T) {
	client, prefix := connect(t), prefix(t)
	one, two := concurrency.NewElection(session(t, client), prefix), concurrency.NewElection(session(t, client), prefix)
	_, err := one.Leader(deadline(t))
	equal(t, "nobody leads", err, concurrency.ErrElectionNoLeader)
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	observed := two.Observe(ctx)
	check(t, one.Campaign(deadline(t), "one"))
	equal(t, "observed", string((<-observed).Kvs[0].Value), "one")
	check(t, one.Proclaim(deadline(t), "one again"))
	equal(t, "observed", string((<-observed).Kvs[0].Value), "one again")
	won := make(chan error, 1)
	go func() { won <- two.Campaign(deadline(t), "two") }()
	select {
	case <-won:
		t.Fatal("two leaders")
	case <-time.After(200 * time.Millisecond): // the only way to see that something does not happen
	}
	check(t, one.Resign(deadline(t)))
	check(t, <-won)
	equal(t, "observed", string((<-observed).Kvs[0].Value), "two")
	leader, err := two.Leader(deadline(t))
	check(t, err)
	equal(t, "leader", string(leader.Kvs[0].Value), "two")
	check(t, two.Resign(deadline(t)))
}

func TestSoftwareTransactionsKeepASum(t *testing.T) {
	for _, level := range []concurrency.Isolation{
		concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads,
	} {
		t.Run(strconv.Itoa(int(level)), func(t *testing.T) {
			client, prefix := connect(t), prefix(t)
			accounts := []string{prefix + "a", prefix + "b", prefix + "c"}
			for _, account := range accounts {
				put(t, client, account, "100")
			}
			var group sync.WaitGroup
			for worker := range 4 {
				group.Go(func() {
					for i := range 10 {
						from, to := accounts[(worker+i)%3], accounts[(worker+i+1)%3]
						_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
							have, _ := strconv.Atoi(stm.Get(from))
							other, _ := strconv.Atoi(stm.Get(to))
							stm.Put(from, strconv.Itoa(have-7))
							stm.Put(to, strconv.Itoa(other+7))
							return nil
						}, concurrency.WithIsolation(level), concurrency.WithAbortContext(deadline(t)))
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			response, err := client.Get(deadline(t), prefix, clientv3.WithPrefix())
			check(t, err)
			sum := 0
			for _, kv := range response.Kvs {
				amount, err := strconv.Atoi(string(kv.Value))
				check(t, err)
				sum += amount
			}
			equal(t, "sum", sum, 300)
		})
	}
}
