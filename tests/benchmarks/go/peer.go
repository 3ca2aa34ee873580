// The peer of the lookup benchmark: Discovery.Get over Go's net/rpc/jsonrpc, answered from a map.
//
//	peer NAME...     registers the names, prints host:port, serves until killed
package main

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"sync"
)

// Address is what a lookup answers.
type Address struct {
	IP   string
	Port int
	Zone string
}

// Discovery is the RPC receiver.
type Discovery struct {
	mutex sync.RWMutex
	names map[string]Address
}

// Get answers the address of a name.
func (d *Discovery) Get(name string, reply *Address) error {
	d.mutex.RLock()
	defer d.mutex.RUnlock()
	address, found := d.names[name]
	if !found {
		return errors.New("not found")
	}
	*reply = address
	return nil
}

func main() {
	discovery := &Discovery{names: map[string]Address{}}
	for i, name := range os.Args[1:] {
		discovery.names[name] = Address{IP: "127.0.0.1", Port: 7000 + i}
	}
	if err := rpc.Register(discovery); err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go jsonrpc.ServeConn(conn)
	}
}
