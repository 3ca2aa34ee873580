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

type Instance struct {
	Uuid        string
	State       string
	Output      string
	Tags        []string
	Incarnation int64
}

type Snapshot struct {
	Revision  int64
	Instances []Instance
}

// Go's client sends one value: calls with several params take them as one object.
type Wait struct {
	Name     string
	Revision int64
	Timeout  float64
}

type Renew struct {
	Id          string
	State       string
	Output      string
	Incarnation int64
}

type Maintenance struct {
	Id     string
	On     bool
	Reason string
}

type Deregister struct {
	Id          string
	Incarnation int64
}

type Empty struct{}

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

	err = client.Call("Discovery.Register", Registration{name, address, "ttl:"}, &id)
	check("register with a lease", err == nil && len(id) == 8, fmt.Sprint(id, err))

	var seen Snapshot
	err = client.Call("Discovery.Wait", Wait{Name: name, Revision: 0, Timeout: 5}, &seen)
	check("wait with a revision and a timeout", err == nil && len(seen.Instances) == 1 && seen.Revision > 0, fmt.Sprint(seen, err))
	incarnation := seen.Instances[0].Incarnation

	err = client.Call("Discovery.Renew", Renew{Id: id, State: "critical", Output: "the disk is full"}, &renewed)
	check("renew with a state", err == nil && renewed, err)
	err = client.Call("Discovery.Wait", Wait{name, seen.Revision, 5}, &seen)
	good := err == nil && len(seen.Instances) == 1 && seen.Instances[0].State == "critical"
	check("wait for the next revision", good && seen.Instances[0].Output == "the disk is full", fmt.Sprint(seen, err))
	err = client.Call("Discovery.Renew", Renew{Id: id, State: "passing", Incarnation: incarnation}, &renewed)
	check("renew with the incarnation", err == nil && renewed, err)
	err = client.Call("Discovery.Renew", Renew{Id: id, Incarnation: incarnation - 1}, &renewed)
	check("renew with another incarnation is an error", err != nil && strings.Contains(err.Error(), "register again"), err)

	var done bool
	err = client.Call("Discovery.Maintenance", Maintenance{id, true, "moving"}, &done)
	check("maintenance on", err == nil && done, err)
	err = client.Call("Discovery.Get", name, &found)
	check("get of an instance in maintenance is an error", err != nil && strings.Contains(err.Error(), "1 maintenance"), err)
	err = client.Call("Discovery.Maintenance", Maintenance{Id: id}, &done)
	check("maintenance off", err == nil && done, err)
	err = client.Call("Discovery.Get", name, &found)
	check("get after the maintenance", err == nil && found == address, fmt.Sprint(found, err))

	var status struct{ Version string }
	err = client.Call("Discovery.Status", Empty{}, &status)
	check("status with an empty object", err == nil && status.Version != "", err)
	var services map[string]map[string]int
	err = client.Call("Discovery.Services", nil, &services)
	check("services with null", err == nil && services[name]["passing"] == 1, fmt.Sprint(services, err))
	var all []Instance
	err = client.Call("Discovery.Instances", Empty{}, &all)
	check("all instances with an empty object", err == nil && len(all) == 1, fmt.Sprint(all, err))

	err = client.Call("Discovery.Deregister", Deregister{id, incarnation - 1}, &gone)
	check("deregister of another incarnation is false", err == nil && !gone, err)
	err = client.Call("Discovery.Deregister", Deregister{id, incarnation}, &gone)
	check("deregister with the incarnation", err == nil && gone, err)
}
