// The Go peers: a gRPC server that sends a PingRequest back, and grpc-gateway in front of any server of its services.
//
//	peer echo                        ready grpc=127.0.0.1:PORT
//	peer gateway 127.0.0.1:50051     ready http=127.0.0.1:PORT
//
// Both are as their projects' examples have them, and end at SIGTERM. bench/tools.py generates gen/ and builds this.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"lexchange.bench/peers/gen/bench"
	"lexchange.bench/peers/gen/leadexchange"
)

type echo struct {
	bench.UnimplementedEchoServer
}

func (echo) Ping(_ context.Context, request *leadexchange.PingRequest) (*leadexchange.PingRequest, error) {
	return request, nil
}

func serveEcho(listener net.Listener) error {
	server := grpc.NewServer()
	bench.RegisterEchoServer(server, echo{})
	fmt.Printf("ready grpc=%s\n", listener.Addr())
	return server.Serve(listener)
}

func serveGateway(listener net.Listener, upstream string) error {
	connection, err := grpc.NewClient(upstream, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	routes := runtime.NewServeMux()
	if err := bench.RegisterEchoHandler(context.Background(), routes, connection); err != nil {
		return err
	}
	if err := leadexchange.RegisterLeadExchangeHandler(context.Background(), routes, connection); err != nil {
		return err
	}
	fmt.Printf("ready http=%s\n", listener.Addr())
	return http.Serve(listener, routes)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	switch arguments := os.Args[1:]; {
	case len(arguments) == 1 && arguments[0] == "echo":
		log.Fatal(serveEcho(listener))
	case len(arguments) == 2 && arguments[0] == "gateway":
		log.Fatal(serveGateway(listener, arguments[1]))
	default:
		log.Fatal("expected: echo, or gateway HOST:PORT")
	}
}
