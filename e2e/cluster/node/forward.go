package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// forward lets programs outside the cluster's network namespace reach one address inside it: it listens where it was
// started, on loopback, and connects from within. Nothing of the machine's own network has to change for that.
func forward(args []string) error {
	flags := flag.NewFlagSet("forward", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	namespace := flags.String("netns", "", "file of the network namespace to connect from")
	to := flags.String("to", "", "address to connect to, an IP and a port")
	portFile := flags.String("port-file", "", "file that is told the port, once it listens")
	_ = flags.Parse(args)

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	port := fmt.Sprintf("%d\n", listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(*portFile, []byte(port), 0o644); err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := dialWithin(*namespace, *to)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			defer server.Close()
			go func() { _, _ = io.Copy(server, client); _ = server.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(client, server)
		}()
	}
}

// dialWithin connects from another network namespace. The thread that entered it ends with its goroutine, since it is
// never unlocked; the socket stays in the namespace where it was made.
func dialWithin(namespace, to string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		file, err := os.Open(namespace)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := net.Dial("tcp", to)
		done <- result{conn, err}
	}()
	got := <-done
	return got.conn, got.err
}
