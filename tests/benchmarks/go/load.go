// A load generator for the lookups and the HTTP requests: standard library only.
//
//	load -protocol jsonrpc|redis|http -address 127.0.0.1:5555 -names a,b -connections 64 -depth 1 -seconds 1
//
// Every connection sends `depth` requests with one write, reads their replies, and goes on. Each reply is looked
// at; one that is an error or the wrong kind ends the run with exit code 1. Prints one JSON object.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

type result struct {
	requests int
	batches  []time.Duration
	err      error
}

func request(protocol, name string, id int) string {
	switch protocol {
	case "jsonrpc":
		return fmt.Sprintf("{\"method\":\"Discovery.Get\",\"params\":[%q],\"id\":%d}\n", name, id)
	case "redis":
		return fmt.Sprintf("*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(name), name)
	default:
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", name)
	}
}

func readLine(in *bufio.Reader, must string) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(line, []byte(must)) {
		return fmt.Errorf("unexpected reply: %s", line)
	}
	return nil
}

func readRedis(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if line[0] != '$' || line[1] == '-' {
		return fmt.Errorf("unexpected reply: %s", line)
	}
	length, err := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
	if err != nil {
		return err
	}
	_, err = in.Discard(length + 2)
	return err
}

func cutPrefix(text, prefix string) (string, bool) {
	return strings.TrimPrefix(text, prefix), strings.HasPrefix(text, prefix)
}

func readHTTP(in *bufio.Reader) error {
	if err := readLine(in, " 200 "); err != nil {
		return err
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := strings.ToLower(strings.TrimSpace(string(line)))
		if text == "" {
			break
		}
		if value, found := cutPrefix(text, "content-length:"); found {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("a reply without Content-Length")
	}
	_, err := in.Discard(length)
	return err
}

func readReply(protocol string, in *bufio.Reader) error {
	switch protocol {
	case "jsonrpc":
		return readLine(in, `"error":null`)
	case "redis":
		return readRedis(in)
	default:
		return readHTTP(in)
	}
}

func connection(protocol, address string, names []string, depth, offset int, until time.Time) (r result) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return result{err: err}
	}
	defer conn.Close()
	if r.err = conn.SetDeadline(until.Add(10 * time.Second)); r.err != nil {
		return r
	}
	var batch bytes.Buffer
	for i := 0; i < depth; i++ {
		batch.WriteString(request(protocol, names[(offset+i)%len(names)], i+1))
	}
	in := bufio.NewReaderSize(conn, 65536)
	for {
		started := time.Now()
		if started.After(until) {
			return r
		}
		if _, r.err = conn.Write(batch.Bytes()); r.err != nil {
			return r
		}
		for i := 0; i < depth; i++ {
			if r.err = readReply(protocol, in); r.err != nil {
				return r
			}
		}
		r.requests += depth
		r.batches = append(r.batches, time.Since(started))
	}
}

func main() {
	protocol := flag.String("protocol", "jsonrpc", "jsonrpc, redis or http")
	address := flag.String("address", "", "host:port, loopback only")
	names := flag.String("names", "", "names, keys or paths, separated by commas")
	connections := flag.Int("connections", 1, "connections at once")
	depth := flag.Int("depth", 1, "requests in flight on each")
	seconds := flag.Float64("seconds", 1, "how long")
	flag.Parse()
	host, _, err := net.SplitHostPort(*address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		fmt.Fprintln(os.Stderr, "load: -address must be a loopback host:port")
		os.Exit(2)
	}
	list := strings.Split(*names, ",")
	results := make([]result, *connections)
	started := time.Now()
	until := started.Add(time.Duration(*seconds * float64(time.Second)))
	var all sync.WaitGroup
	for i := range results {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			results[i] = connection(*protocol, *address, list, *depth, i*(*depth), until)
		}(i)
	}
	all.Wait()
	elapsed := time.Since(started).Seconds()
	requests, batches := 0, []time.Duration{}
	for _, r := range results {
		if r.err != nil {
			fmt.Fprintln(os.Stderr, "load:", r.err)
			os.Exit(1)
		}
		requests += r.requests
		batches = append(batches, r.batches...)
	}
	sort.Slice(batches, func(i, j int) bool { return batches[i] < batches[j] })
	at := func(q float64) float64 { return batches[int(q*float64(len(batches)-1))].Seconds() * 1e6 }
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": requests, "per_second": float64(requests) / elapsed, "p50_us": at(0.5), "p99_us": at(0.99),
	})
}
