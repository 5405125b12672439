package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"time"
)

type object map[string]interface{}

// What every answer is wrapped in. Metadata stays raw: a missing one is an error for the client,
// null is not.
type envelope struct {
	Type       string          `json:"type"`
	Status     string          `json:"status"`
	StatusCode int             `json:"status_code"`
	Operation  string          `json:"operation"`
	ErrorCode  int             `json:"error_code"`
	Error      string          `json:"error"`
	Metadata   json.RawMessage `json:"metadata"`
}

type operation struct {
	ID         string              `json:"id"`
	Class      string              `json:"class"`
	CreatedAt  time.Time           `json:"created_at"`
	UpdatedAt  time.Time           `json:"updated_at"`
	Status     string              `json:"status"`
	StatusCode int                 `json:"status_code"`
	Resources  map[string][]string `json:"resources"`
	Metadata   map[string]object   `json:"metadata"`
	MayCancel  bool                `json:"may_cancel"`
	Err        string              `json:"err"`
}

type client struct {
	base, host string
	tls        *tls.Config
	http       *http.Client
	events     *events
	// What one topic leaves for the next.
	app, instance string
}

// send does what the client does: JSON without a content type, whatever the method.
func (c *client) send(method, target string, body io.Reader, header http.Header) (*http.Response, envelope) {
	must(c.http != nil, "there is no connection")
	request, err := http.NewRequest(method, c.base+target, body)
	must(err == nil, "%v", err)
	for name, values := range header {
		request.Header[name] = values
	}
	answer, err := c.http.Do(request)
	must(err == nil, "%s %s: %v", method, target, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(err == nil, "%v", err)
	must(answer.ProtoMajor == 1, "HTTP/%d", answer.ProtoMajor)
	var wrapped envelope
	must(json.Unmarshal(text, &wrapped) == nil, "%s %s: no JSON: %s", method, target, text)
	return answer, wrapped
}

func encoded(body interface{}) io.Reader {
	if body == nil {
		return nil
	}
	text, err := json.Marshal(body)
	must(err == nil, "%v", err)
	return bytes.NewReader(text)
}

// call makes a call that must not fail and returns its envelope.
func (c *client) call(method, target string, body interface{}) (*http.Response, envelope) {
	answer, wrapped := c.send(method, target, encoded(body), nil)
	must(wrapped.Type != "error", "%s %s: %d %s", method, target, wrapped.ErrorCode, wrapped.Error)
	must(wrapped.Metadata != nil, "%s %s: no metadata", method, target)
	return answer, wrapped
}

func (c *client) get(target string, metadata interface{}) {
	_, wrapped := c.call("GET", target, nil)
	must(wrapped.Type == "sync" && wrapped.Status == "Success" && wrapped.StatusCode == 200,
		"GET %s: %+v", target, wrapped)
	err := json.Unmarshal(wrapped.Metadata, metadata)
	must(err == nil, "GET %s: %v: %s", target, err, wrapped.Metadata)
}

// refused makes a call that must fail and returns code and text of its body.
func (c *client) refused(method, target string, body interface{}) (int, string) {
	answer, wrapped := c.send(method, target, encoded(body), nil)
	must(wrapped.Type == "error" && wrapped.Error != "", "%s %s passed: %+v", method, target, wrapped)
	must(answer.StatusCode == wrapped.ErrorCode, "%d is not %d", answer.StatusCode, wrapped.ErrorCode)
	return wrapped.ErrorCode, wrapped.Error
}

// opened checks the answer of an asynchronous call and returns its operation.
func opened(answer *http.Response, wrapped envelope) operation {
	must(answer.StatusCode == 202 && wrapped.Type == "async", "%d %+v", answer.StatusCode, wrapped)
	must(wrapped.StatusCode == 100, "status_code %d", wrapped.StatusCode)
	var op operation
	must(json.Unmarshal(wrapped.Metadata, &op) == nil, "no operation: %s", wrapped.Metadata)
	must(wrapped.Operation == "/1.0/operations/"+op.ID, "%q is not of %q", wrapped.Operation, op.ID)
	must(answer.Header.Get("Location") == wrapped.Operation, "Location %q", answer.Header.Get("Location"))
	must(!op.CreatedAt.IsZero() && !op.UpdatedAt.IsZero(), "no times")
	return op
}

// do makes an asynchronous call as the client does: it listens first, reads the operation once after
// it has subscribed, and then waits for the event that ends it.
func (c *client) do(method, target string, body interface{}) operation {
	listening := c.listen()
	op := opened(c.call(method, target, body))
	return c.await(listening, op)
}

func (c *client) await(listening *events, op operation) operation {
	var now operation
	c.get("/1.0/operations/"+op.ID, &now)
	for now.StatusCode < 200 {
		now = listening.operation(op.ID)
	}
	return now
}

// done is do for what must succeed.
func (c *client) done(method, target string, body interface{}) operation {
	op := c.do(method, target, body)
	must(op.StatusCode == 200 && op.Err == "", "%s %s: %d %s", method, target, op.StatusCode, op.Err)
	return op
}

func resource(op operation, kind string) string {
	must(len(op.Resources[kind]) == 1, "resources %v", op.Resources)
	return path.Base(op.Resources[kind][0])
}

func contains(all []string, wanted string) bool {
	for _, one := range all {
		if one == wanted {
			return true
		}
	}
	return false
}

// events is the client's end of a websocket that only ever receives, RFC 6455.
type events struct {
	conn net.Conn
	in   *bufio.Reader
	seen []string
}

func (c *client) listen() *events {
	if c.events != nil {
		return c.events
	}
	conn, err := tls.Dial("tcp", c.host, c.tls)
	must(err == nil, "%v", err)
	_, err = io.WriteString(conn, "GET /1.0/events HTTP/1.1\r\nHost: "+c.host+
		"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"+
		"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	must(err == nil, "%v", err)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	must(err == nil, "%v", err)
	must(answer.StatusCode == 101, "events: %s", answer.Status)
	// The example of the RFC.
	must(answer.Header.Get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "another accept")
	c.events = &events{conn: conn, in: in}
	return c.events
}

// message returns the next text message; pings are answered on the way.
func (e *events) message() []byte {
	for {
		must(e.conn.SetReadDeadline(time.Now().Add(30*time.Second)) == nil, "no deadline")
		head := make([]byte, 2)
		_, err := io.ReadFull(e.in, head)
		must(err == nil, "no event in time: %v; seen %v", err, e.seen)
		must(head[0]&0x80 != 0 && head[1]&0x80 == 0, "a fragment, or a masked frame")
		length := uint64(head[1])
		if length == 126 {
			length = uint64(binary.BigEndian.Uint16(e.read(2)))
		} else if length == 127 {
			length = binary.BigEndian.Uint64(e.read(8))
		}
		must(length <= 1<<20, "an event of %d bytes", length)
		payload := e.read(int(length))
		switch head[0] & 0x0f {
		case 1:
			return payload
		case 9:
			// A pong, masked with zeros.
			frame := append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
			_, err := e.conn.Write(frame)
			must(err == nil, "%v", err)
		case 8:
			must(false, "the events have ended")
		}
	}
}

func (e *events) read(length int) []byte {
	bytes := make([]byte, length)
	_, err := io.ReadFull(e.in, bytes)
	must(err == nil, "%v", err)
	return bytes
}

// operation returns the next event about an operation; lifecycles on the way are kept.
func (e *events) operation(id string) operation {
	for {
		var event struct {
			Type      string          `json:"type"`
			Timestamp time.Time       `json:"timestamp"`
			Metadata  json.RawMessage `json:"metadata"`
		}
		must(json.Unmarshal(e.message(), &event) == nil, "an event that is no JSON")
		must(!event.Timestamp.IsZero(), "an event without a time")
		switch event.Type {
		case "operation":
			var op operation
			must(json.Unmarshal(event.Metadata, &op) == nil, "%s", event.Metadata)
			if op.ID == id {
				return op
			}
		case "lifecycle":
			var life struct{ Action, Source string }
			must(json.Unmarshal(event.Metadata, &life) == nil, "%s", event.Metadata)
			must(strings.HasPrefix(life.Source, "/1.0/instances/"), "source %q", life.Source)
			e.seen = append(e.seen, life.Action+" "+path.Base(life.Source))
		}
	}
}
