package clientv3_test

import (
	"context"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestEndpointsAreRegisteredAndWatched(t *testing.T) {
	client := connect(t)
	service := "services" + prefix(t) + "web"
	manager, err := endpoints.NewManager(client, service)
	check(t, err)
	updates, err := manager.NewWatchChannel(deadline(t))
	check(t, err)
	lease, err := client.Grant(deadline(t), 60)
	check(t, err)
	check(t, manager.AddEndpoint(deadline(t), service+"/one", endpoints.Endpoint{Addr: "10.0.0.1:80", Metadata: "blue"}, clientv3.WithLease(lease.ID)))
	update := <-updates
	equal(t, "operation", update[0].Op, endpoints.Add)
	equal(t, "address", update[0].Endpoint.Addr, "10.0.0.1:80")
	all, err := manager.List(deadline(t))
	check(t, err)
	equal(t, "listed", all[service+"/one"].Addr, "10.0.0.1:80")
	_, err = client.Revoke(deadline(t), lease.ID)
	check(t, err)
	update = <-updates
	equal(t, "operation", update[0].Op, endpoints.Delete)
	equal(t, "key", update[0].Key, service+"/one")
}

// A gRPC client finds its servers by name, loses one and finds another.
func TestTheResolverFollowsTheEndpoints(t *testing.T) {
	client := connect(t)
	service := "services" + prefix(t) + "health"
	serve := func(status healthpb.HealthCheckResponse_ServingStatus) (address string, stop func()) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		server, health := grpc.NewServer(), health.NewServer()
		health.SetServingStatus("", status)
		healthpb.RegisterHealthServer(server, health)
		go server.Serve(listener)
		return listener.Addr().String(), server.Stop
	}
	manager, err := endpoints.NewManager(client, service)
	check(t, err)
	builder, err := resolver.NewBuilder(client)
	check(t, err)
	first, stop := serve(healthpb.HealthCheckResponse_SERVING)
	check(t, manager.AddEndpoint(deadline(t), service+"/first", endpoints.Endpoint{Addr: first}))
	connection, err := grpc.NewClient("etcd:///"+service, grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	defer connection.Close()
	status := func(ctx context.Context) (healthpb.HealthCheckResponse_ServingStatus, error) {
		response, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		return response.GetStatus(), err
	}
	got, err := status(deadline(t))
	check(t, err)
	equal(t, "first", got, healthpb.HealthCheckResponse_SERVING)
	second, stopSecond := serve(healthpb.HealthCheckResponse_NOT_SERVING)
	defer stopSecond()
	check(t, manager.Update(deadline(t), []*endpoints.UpdateWithOpts{
		endpoints.NewAddUpdateOpts(service+"/second", endpoints.Endpoint{Addr: second}),
		endpoints.NewDeleteUpdateOpts(service + "/first"),
	}))
	stop()
	eventually(t, "the second server answers", func() bool {
		got, err := status(deadline(t))
		return err == nil && got == healthpb.HealthCheckResponse_NOT_SERVING
	})
}
