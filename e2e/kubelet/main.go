// kubelet runs the commands of `exec` as the kubelets of real nodes do: an exit code comes back as a cause of its own in
// the last word of the connection, where kwok only has it in the text of an error.
//
// Usage: kubelet CERTIFICATE KEY. It prints the port that it listens on, and ends when its standard input does. Commands are
// local processes; POD and CONTAINER in their environment say where they would run.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const (
	idle     = 4 * time.Hour
	creation = 30 * time.Second
)

type runner struct{}

// ExecInContainer runs a command to its end, whether or not somebody still waits for it.
func (runner) ExecInContainer(_ context.Context, pod, _, container string, command []string, in io.Reader, out, errOut io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	process := exec.Command(command[0], command[1:]...)
	process.Env = append(os.Environ(), "POD="+pod, "CONTAINER="+container)
	process.Stdin, process.Stdout, process.Stderr = in, out, errOut
	err := process.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

func serve(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	command := r.URL.Query()["command"]
	if err == nil && len(command) == 0 {
		err = errors.New("no command")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, runner{}, r.PathValue("pod"), "", r.PathValue("container"), command, options, idle, creation,
		remotecommand.SupportedStreamingProtocols)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: kubelet CERTIFICATE KEY")
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/exec/{namespace}/{pod}/{container}", serve)
	server := http.Server{
		Handler: routes,
		// A connection of HTTP/2 cannot be taken over.
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: creation,
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.ServeTLS(listener, os.Args[1], os.Args[2]))
}
