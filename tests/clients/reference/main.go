// The program of etcd's own authors, built from the Go module proxy: what the suites and the differential test are
// checked against.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
