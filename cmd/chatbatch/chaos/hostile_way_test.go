//go:build linux

package chaos

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// secure serves the place's API with TLS and a certificate for names, and has the program
// trust who made it; it returns the port.
func (h *hostile) secure(until time.Time, names ...string) (port string) {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "chaos"}, DNSNames: names, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		h.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(h.api.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	h.t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	h.env = append(h.env, "SSL_CERT_FILE="+h.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))), "SSL_CERT_DIR=/nonexistent")
	_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return port
}

// Ways that lead to no server, or to one that cannot be trusted. No call gets there, no row
// fails, and it is said what is wrong.
func TestNoWay(t *testing.T) {
	t.Parallel()
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-time.Hour)
	together(t, some(map[string]noWay{
		"expired":     {func(h *hostile) string { return "https://localhost:" + h.secure(yesterday, "localhost") }, exitRefused, "certificate has expired"},
		"wrong name":  {func(h *hostile) string { return "https://localhost:" + h.secure(tomorrow, "other.test") }, exitRefused, "certificate is valid for other.test"},
		"self-signed": {selfSigned, exitRefused, "certificate signed by unknown authority"},
		"plain http":  {func(h *hostile) string { return strings.Replace(h.api.URL, "http:", "https:", 1) }, exitStopped, "HTTP response to HTTPS client"},
		"https there": {func(h *hostile) string { return "http://localhost:" + h.secure(tomorrow, "localhost") }, exitRefused, "status 400"},
		"no name":     {func(*hostile) string { return "https://" + strings.Repeat("a", 64) + ".invalid" }, exitStopped, "dns: "},
		"refused":     {func(*hostile) string { return "http://127.0.0.1:1" }, exitStopped, "connection refused"},
		"black hole":  {blackHole, exitStopped, "no answer within 3.1s"},
		"silent":      {silent, exitStopped, "no answer within 3.1s"},
		"hangs up":    {hangsUp, exitStopped, "the server does not answer"},
	}, "expired", "no name"), func(t *testing.T, way noWay) {
		h := newHostile(t)
		j := h.set(2, 30)
		at := h.env[0]
		h.env = append(h.env, "CHATBATCH_ENDPOINT="+way.endpoint(h))
		e := h.run(append(j.args, "--retries", "1", "--timeout", "3.1s")...)
		e.want(t, way.code, way.says)
		if s := h.summary(e); s.Succeeded > 0 || h.api.count() > 0 || s.Failed != s.ByClass["bad_row"] {
			t.Errorf("%d calls, %+v", h.api.count(), s)
		}
		h.env = append(h.env, at)
		e = h.run(j.args...) // another endpoint: another run
		e.want(t, j.code)
		tried.add("server: not there, or not to be trusted", 1, j.lost(e))
	})
}

// A noWay is an endpoint that no call must reach.
type noWay struct {
	endpoint func(h *hostile) string
	code     int
	says     string
}

func selfSigned(h *hostile) string {
	s := httptest.NewUnstartedServer(http.HandlerFunc(h.api.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	h.t.Cleanup(s.Close)
	return s.URL
}

// listen listens, and hands each connection to f.
func (h *hostile) listen(f func(net.Conn)) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				f(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func silent(h *hostile) string {
	return "https://" + h.listen(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

func hangsUp(h *hostile) string {
	return "https://" + h.listen(func(c net.Conn) { _, _ = c.Read(make([]byte, 10)) })
}

// blackHole listens and takes no connection: who dials gets no answer.
func blackHole(h *hostile) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		h.t.Skip("no socket: ", err)
	}
	h.t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		h.t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		h.t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		h.t.Fatal(err)
	}
	addr := fmt.Sprint("127.0.0.1:", name.(*syscall.SockaddrInet4).Port)
	for range 5 {
		conn, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return "http://" + addr
		}
		h.t.Cleanup(func() { conn.Close() })
	}
	h.t.Skip("no black hole can be made on this machine")
	return ""
}

// A proxy opens ways, or does not.
type proxy struct {
	addr   string
	opened atomic.Int32
}

// proxy starts a proxy for CONNECT. refuse is the status with which it refuses, "" for
// none; it cuts each way after so many bytes of the server's, if that is not 0.
func (h *hostile) proxy(to, refuse string, cut int64) *proxy {
	p := &proxy{}
	p.addr = h.listen(func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil || r.Method != http.MethodConnect || strings.Contains(r.RequestURI, "usersig") {
			h.t.Errorf("the proxy got %v, %v", r, err)
			return
		}
		p.opened.Add(1)
		if refuse != "" {
			fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", refuse)
			return
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			h.t.Error(err)
			return
		}
		defer server.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(server, conn) }() // ends with conn
		if cut > 0 {
			_, _ = io.CopyN(conn, server, cut)
			return
		}
		_, _ = io.Copy(conn, server)
	})
	return p
}

// Calls go through the proxy of the environment, but those to loopback. One that dies is
// outlasted; one that refuses is named, and its password is not.
func TestProxy(t *testing.T) {
	for name, test := range some(map[string]struct {
		refuse  string
		cut     int64
		env     string
		code    int // 0: that of the job
		says    string
		opened  int // least ways that it has opened
		refused int // most ways that it has refused; 0: any
	}{
		"works":            {opened: 1},
		"dies":             {cut: 4000, opened: 5},
		"wants a password": {refuse: "407 Proxy Authentication Required", code: exitRefused, says: `status 407: the proxy 127.0.0.1:`, opened: 1, refused: 1},
		"finds no server":  {refuse: "502 Bad Gateway", code: exitStopped, says: `"502 Bad Gateway"`, opened: 3, refused: 3},
		"is passed by":     {env: "NO_PROXY=.test", code: exitStopped, says: "dns: "},
		"is for others":    {},
	}, "dies", "wants a password") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			j := h.set(6, 40)
			port := h.secure(time.Now().Add(24*time.Hour), "chat.test", "localhost")
			p := h.proxy("127.0.0.1:"+port, test.refuse, test.cut)
			h.env = append(h.env, "CHATBATCH_ENDPOINT=https://chat.test", "HTTPS_PROXY=http://user:proxy-password@"+p.addr, "HTTP_PROXY=http://"+p.addr, test.env)
			switch name {
			case "is passed by": // a name that no server has
				h.env = append(h.env, "CHATBATCH_ENDPOINT=https://"+strings.Repeat("a", 64)+".test")
			case "is for others":
				h.env = append(h.env, "CHATBATCH_ENDPOINT=https://localhost:"+port)
			}
			more := []string{"--workers", "4"}
			if test.code != 0 {
				more = append(more, "--retries", "2")
			}
			e := h.run(append(j.args, more...)...)
			if n := int(p.opened.Load()); n < test.opened || test.refused > 0 && n > test.refused || test.opened == 0 && n > 0 {
				t.Errorf("%d ways through the proxy", n)
			}
			if test.code != 0 {
				e.want(t, test.code, test.says)
				tried.add("server: behind a proxy that "+name, 1, h.summary(e).Rows-h.summary(e).Unprocessed-h.summary(e).ByClass["bad_row"])
				return
			}
			e.want(t, j.code)
			tried.add("server: behind a proxy that "+name, 1, j.lost(e))
		})
	}
}
