package differential_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// watcher is one watch stream of one server, and what came on it for each watch id since it was last looked at.
type watcher struct {
	stream   pb.Watch_WatchClient
	incoming chan *pb.WatchResponse
	events   map[int64][]*pb.WatchResponse
}

func open(t testing.TB, s *server) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := s.watch.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{stream: stream, incoming: make(chan *pb.WatchResponse, 1024), events: map[int64][]*pb.WatchResponse{}}
	go func() {
		defer close(w.incoming)
		for {
			response, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case w.incoming <- response:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

// control sends a request and waits for the answer that is not an event; events before it are kept.
func (w *watcher) control(request *pb.WatchRequest) (*pb.WatchResponse, error) {
	if err := w.stream.Send(request); err != nil {
		return nil, err
	}
	for {
		response, err := w.next(patience)
		if err != nil {
			return nil, err
		}
		if response.Created || (response.Canceled && response.CompactRevision == 0) {
			return response, nil
		}
		w.keep(response)
	}
}

func (w *watcher) next(wait time.Duration) (*pb.WatchResponse, error) {
	select {
	case response, open := <-w.incoming:
		if !open {
			return nil, fmt.Errorf("the watch stream ended")
		}
		return response, nil
	case <-time.After(wait):
		return nil, fmt.Errorf("no answer on the watch stream after %v", wait)
	}
}

// keep notes what came for a watch. How events are cut into answers is the server's business, as long as a revision
// is not cut; so they are kept as one row, and the header, which says when they were sent, is not compared.
func (w *watcher) keep(response *pb.WatchResponse) {
	for _, event := range response.Events {
		w.events[response.WatchId] = append(w.events[response.WatchId], &pb.WatchResponse{Events: []*mvccpb.Event{event}})
	}
	if response.Canceled {
		canceled := proto.Clone(response).(*pb.WatchResponse)
		canceled.Header, canceled.Events = nil, nil
		w.events[response.WatchId] = append(w.events[response.WatchId], canceled)
	}
}

// settle asks for progress until everything up to the revision has come.
func (w *watcher) settle(revision int64) error {
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err := w.stream.Send(request); err != nil {
			return err
		}
		for {
			response, err := w.next(100 * time.Millisecond)
			if err != nil {
				break // not synced yet: nothing is sent then
			}
			if response.WatchId == -1 && len(response.Events) == 0 && !response.Canceled {
				if response.Header.Revision >= revision {
					return nil
				}
				break
			}
			w.keep(response)
		}
	}
	return fmt.Errorf("no progress at revision %d", revision)
}

// pair is the same stream on both servers.
type pair struct {
	ours, theirs *watcher
	live         map[int64]*pb.WatchCreateRequest
}

// settles is false while a watch begins later: it holds back the progress of all that share its stream.
func (p *pair) settles(revision int64) bool {
	for _, request := range p.live {
		if request.StartRevision > revision {
			return false
		}
	}
	return true
}

// settle waits for both and compares what came.
func (p *pair) settle(revision int64) string {
	if len(p.live) == 0 || !p.settles(revision) {
		return ""
	}
	if err := p.theirs.settle(revision); err != nil {
		return "etcd: " + err.Error()
	}
	if err := p.ours.settle(revision); err != nil {
		return err.Error()
	}
	return p.compare()
}

func (p *pair) compare() string {
	ids := map[int64]bool{}
	for id := range p.ours.events {
		ids[id] = true
	}
	for id := range p.theirs.events {
		ids[id] = true
	}
	for id := range ids {
		ours, theirs := p.ours.events[id], p.theirs.events[id]
		for i := range max(len(ours), len(theirs)) {
			switch {
			case i >= len(ours):
				return fmt.Sprintf("watch %d (%v): item %d missing, etcd has %v", id, p.live[id], i, theirs[i])
			case i >= len(theirs):
				return fmt.Sprintf("watch %d (%v): item %d is %v, etcd has none", id, p.live[id], i, ours[i])
			}
			if found := difference("", ours[i].ProtoReflect(), theirs[i].ProtoReflect()); found != "" {
				return fmt.Sprintf("watch %d (%v): item %d%s", id, p.live[id], i, found)
			}
			if ours[i].Canceled {
				delete(p.live, id)
			}
		}
	}
	clear(p.ours.events)
	clear(p.theirs.events)
	return ""
}
