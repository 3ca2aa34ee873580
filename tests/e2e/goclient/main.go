// Command goclient speaks to a registry with nothing but Go's standard library: it registers, looks up, meets
// errors, deregisters. It prints one line a step and exits 1 at the first that is not as promised.
package main

import (
	"fmt"
	"net/rpc/jsonrpc"
	"os"
	"strings"
	"sync"
)

type Address struct {
	IP   string
	Port int
	Zone string
}

type Registration struct {
	Name        string
	Addr        Address
	HealthCheck string
}

func check(step string, good bool, detail any) {
	if !good {
		fmt.Printf("%s: NOT AS PROMISED: %v\n", step, detail)
		os.Exit(1)
	}
	fmt.Printf("%s: ok\n", step)
}

func main() {
	registry, name, port := os.Args[1], os.Args[2], 0
	fmt.Sscan(os.Args[3], &port)
	client, err := jsonrpc.Dial("tcp", registry)
	check("dial", err == nil, err)
	defer client.Close()

	var id string
	address := Address{IP: "127.0.0.1", Port: port}
	err = client.Call("Discovery.Register", Registration{name, address, fmt.Sprintf("http://127.0.0.1:%d/", port)}, &id)
	check("register", err == nil && len(id) == 8, fmt.Sprint(id, err))

	var again string
	err = client.Call("Discovery.Register", Registration{name, address, fmt.Sprintf("http://127.0.0.1:%d/", port)}, &again)
	check("register again keeps the id", err == nil && again == id, fmt.Sprint(again, err))

	var found Address
	err = client.Call("Discovery.Get", name, &found)
	check("get", err == nil && found == address, fmt.Sprint(found, err))

	var renewed bool
	err = client.Call("Discovery.Renew", id, &renewed)
	check("renew", err == nil && renewed, err)

	err = client.Call("Discovery.Get", name+"x", &found)
	check("an unknown name is an error with words", err != nil && strings.Contains(err.Error(), name+"x"), err)

	err = client.Call("Discovery.Nothing", "x", &found)
	check("an unknown method is an error with words", err != nil && err.Error() != "", err)

	err = client.Call("Discovery.Get", 5, &found)
	check("wrong params are an error with words", err != nil && err.Error() != "", err)

	var waiting sync.WaitGroup
	errors := make(chan error, 200)
	for i := 0; i < 200; i++ {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			var one Address
			if err := client.Call("Discovery.Get", name, &one); err != nil || one != address {
				errors <- fmt.Errorf("%v %v", one, err)
			}
		}()
	}
	waiting.Wait()
	check("many calls at once on one connection", len(errors) == 0, len(errors))

	var gone bool
	err = client.Call("Discovery.Deregister", id, &gone)
	check("deregister", err == nil && gone, err)
	err = client.Call("Discovery.Deregister", id, &gone)
	check("deregister again is false, and no error", err == nil && !gone, err)
	err = client.Call("Discovery.Get", name, &found)
	check("get after that is an error", err != nil, found)
	err = client.Call("Discovery.Renew", id, &renewed)
	check("renew after that is an error", err != nil, renewed)
}
