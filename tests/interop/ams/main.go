// Drives an AMS the way its public Go client does, and says where the answers differ from what that
// client needs: nothing but the standard library, and a websocket of a few lines.
//
//	ams -url https://HOST:PORT -cert FILE -key FILE -password TEXT [-app NAME]
//
// It prints a line for everything it has checked. A difference is printed too, and is an error.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

var (
	base     = flag.String("url", "", "where AMS listens")
	certFile = flag.String("cert", "", "client certificate, PEM, not trusted yet")
	keyFile  = flag.String("key", "", "its key, PEM")
	password = flag.String("password", "", "the trust password")
	appName  = flag.String("app", "clock", "an application that is ready")
)

// A failed check ends the run of its topic, not the whole.
type difference string

func must(ok bool, format string, a ...interface{}) {
	if !ok {
		panic(difference(fmt.Sprintf(format, a...)))
	}
}

func check(name string, topic func()) (passed bool) {
	defer func() {
		switch why := recover().(type) {
		case nil:
			passed = true
			fmt.Println("ok   ", name)
		case difference:
			fmt.Println("DIFFERS", name+":", string(why))
		default:
			panic(why)
		}
	}()
	topic()
	return
}

func main() {
	flag.Parse()
	c := &client{base: *base}
	topics := []struct {
		name string
		run  func()
	}{
		{"the server certificate is read without a client certificate", c.fetchServerCertificate},
		{"an unknown client is told that it is not trusted", c.beUnknown},
		{"a wrong trust password is refused in the body", c.beRefused},
		{"the trust password adds the client certificate", c.register},
		{"a second registration is a conflict", c.registerAgain},
		{"certificates are listed, read, added and removed", c.certificates},
		{"configuration is set by name and read back", c.configuration},
		{"nodes are URLs, and objects with recursion", c.nodes},
		{"images are listed", c.images},
		{"an application is uploaded as zip, published and launched", c.uploadZip},
		{"a second version is uploaded as tar.bz2", c.uploadTar},
		{"a package with another fingerprint is refused", c.uploadCorrupt},
		{"an instance is launched, waited for by events, and deleted", c.instances},
		{"the zero values of Go mean that nothing is given", c.zeroValues},
		{"a filter that matches nothing gives an empty list", c.filters},
		{"an instance is stopped and started", c.startStop},
		{"an image is launched without an application", c.rawInstance},
		{"operations are listed by status and waited for", c.operations},
		{"errors are recognised by their body", c.errors},
		{"what AMS cannot do is said in its words", c.unsupported},
		{"the application goes although its instance is just going", c.teardown},
	}
	failed := 0
	for _, topic := range topics {
		if !check(topic.name, topic.run) {
			failed++
		}
	}
	fmt.Printf("%d of %d topics as the Go client needs them\n", len(topics)-failed, len(topics))
	if failed > 0 {
		os.Exit(1)
	}
}

func (c *client) fetchServerCertificate() {
	anyone := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13},
	}}
	answer, err := anyone.Get(*base + "/")
	must(err == nil, "GET /: %v", err)
	answer.Body.Close()
	must(len(answer.TLS.PeerCertificates) > 0, "no server certificate")
	server := answer.TLS.PeerCertificates[0]
	must(answer.TLS.Version == tls.VersionTLS13, "TLS version %x", answer.TLS.Version)

	// From here on as the client does it: this certificate is the whole root pool, and the name is
	// the first DNS SAN.
	roots := x509.NewCertPool()
	roots.AddCert(server)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	if len(server.DNSNames) > 0 {
		config.ServerName = server.DNSNames[0]
	}
	pair, err := tls.LoadX509KeyPair(*certFile, *keyFile)
	must(err == nil, "client certificate: %v", err)
	config.Certificates = []tls.Certificate{pair}
	c.tls = config
	c.http = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		TLSClientConfig: config,
		// HTTP/1.1 only.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
	u, err := url.Parse(*base)
	must(err == nil, "%v", err)
	c.host = u.Host
}

func (c *client) beUnknown() {
	var about struct {
		Auth       string   `json:"auth"`
		Extensions []string `json:"api_extensions"`
		Cluster    string   `json:"cluster_id"`
	}
	c.get("/1.0", &about)
	must(about.Auth == "untrusted", "auth is %q", about.Auth)
	must(contains(about.Extensions, "instance_support"), "api_extensions %v", about.Extensions)
	must(about.Cluster != "", "no cluster_id")
	code, text := c.refused("GET", "/1.0/instances", nil)
	must(code == 403, "%d %q", code, text)
}

func (c *client) ownCertificate() string {
	text, err := os.ReadFile(*certFile)
	must(err == nil, "%v", err)
	block, _ := pem.Decode(text)
	must(block != nil, "no PEM in %s", *certFile)
	return base64.StdEncoding.EncodeToString(block.Bytes)
}

func (c *client) beRefused() {
	body := object{"certificate": c.ownCertificate(), "trust-password": *password + "x"}
	code, _ := c.refused("POST", "/1.0/certificates", body)
	must(code == 403, "%d", code)
}

func (c *client) register() {
	body := object{"certificate": c.ownCertificate(), "trust-password": *password}
	// An operation or a synchronous answer: the client takes either.
	c.call("POST", "/1.0/certificates", body)
	var about struct {
		Auth string `json:"auth"`
	}
	c.get("/1.0", &about)
	must(about.Auth == "trusted", "auth is %q", about.Auth)
}

func (c *client) registerAgain() {
	body := object{"certificate": c.ownCertificate(), "trust-password": *password}
	code, text := c.refused("POST", "/1.0/certificates", body)
	must(code == 409 && text == "certificate already exists", "%d %q", code, text)
}
