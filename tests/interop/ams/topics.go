package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

type instance struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Status  string   `json:"status"`
	Code    int      `json:"status_code"`
	AppID   string   `json:"app_id"`
	AppName string   `json:"app_name"`
	ImageID string   `json:"image_id"`
	Node    string   `json:"node"`
	Created int64    `json:"created_at"`
	Tags    []string `json:"tags"`
	Config  struct {
		Display struct{ Width, Height, FPS, Density int } `json:"display"`
	} `json:"config"`
	Resources struct {
		CPUs     int   `json:"cpus"`
		DiskSize int64 `json:"disk-size"`
	} `json:"resources"`
	Services []object `json:"services"`
}

type application struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Status    string `json:"status"`
	Code      int    `json:"status_code"`
	Published bool   `json:"published"`
	Image     string `json:"parent_image_id"`
	Versions  []struct {
		Number    int  `json:"number"`
		Published bool `json:"published"`
	} `json:"versions"`
}

func (c *client) certificates() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err == nil, "%v", err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "another"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err == nil, "%v", err)
	sum := sha256.Sum256(der)
	fingerprint, text := hex.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(der)

	// Whoever is trusted needs no password.
	c.done("POST", "/1.0/certificates", object{"certificate": text, "trust-password": ""})
	var one struct{ Certificate, Fingerprint string }
	c.get("/1.0/certificates/"+fingerprint, &one)
	must(one.Certificate == text && one.Fingerprint == fingerprint, "another certificate")
	var urls []string
	c.get("/1.0/certificates", &urls)
	must(contains(urls, "/1.0/certificates/"+fingerprint), "%v", urls)
	c.done("DELETE", "/1.0/certificates/"+fingerprint, nil)
	code, why := c.refused("GET", "/1.0/certificates/"+fingerprint, nil)
	must(code == 404 && strings.HasSuffix(why, "not found"), "%d %q", code, why)
}

func (c *client) configuration() {
	read := func() map[string]string {
		var answer struct{ Config map[string]string }
		c.get("/1.0/config", &answer)
		return answer.Config
	}
	for _, key := range []string{"agent.api.url", "agent.api.token", "agent.api.fingerprint"} {
		value, there := read()[key]
		must(there && value == "", "%s is %q", key, value)
	}
	c.done("PATCH", "/1.0/config", object{"name": "load_balancer.url", "value": "https://lb:8444"})
	must(read()["load_balancer.url"] == "https://lb:8444", "%v", read())
	c.done("PATCH", "/1.0/config", object{"name": "load_balancer.url", "value": ""})
	code, _ := c.refused("PATCH", "/1.0/config", object{"name": "no.such.key", "value": "1"})
	must(code == 404, "%d", code)
}

func (c *client) nodes() {
	var urls []string
	c.get("/1.0/nodes", &urls)
	must(len(urls) > 0 && strings.HasPrefix(urls[0], "/1.0/nodes/"), "%v", urls)
	var nodes []struct {
		Name string
		Code int `json:"status_code"`
	}
	c.get("/1.0/nodes?recursion=1", &nodes)
	must(len(nodes) == len(urls) && nodes[0].Code == 4, "%+v", nodes)
}

func (c *client) images() {
	var images []struct {
		ID, Name, Status string
		Default          bool
	}
	c.get("/1.0/images?recursion=1", &images)
	must(len(images) > 0 && images[0].ID != "" && images[0].Default, "%+v", images)
}

func manifest(name string) []byte {
	return []byte("name: " + name + "\nimage: jammy:android15:amd64\nwatchdog:\n  disabled: false\n" +
		"resources:\n  cpus: 4\n  memory: 3GB\n  disk-size: 3GB\n")
}

func zipped(text []byte) []byte {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	// Streamed, as the client does it: sizes follow the data.
	file, err := archive.Create("manifest.yaml")
	must(err == nil, "%v", err)
	_, err = file.Write(text)
	must(err == nil && archive.Close() == nil, "%v", err)
	return out.Bytes()
}

// Go reads bzip2 and does not write it.
func tarBzipped(text []byte) []byte {
	var out, packed bytes.Buffer
	archive := tar.NewWriter(&out)
	head := &tar.Header{Name: "manifest.yaml", Mode: 0o644, Size: int64(len(text))}
	must(archive.WriteHeader(head) == nil, "no header")
	_, err := archive.Write(text)
	must(err == nil && archive.Close() == nil, "%v", err)
	bzip2 := exec.Command("bzip2", "-c")
	bzip2.Stdin, bzip2.Stdout = &out, &packed
	must(bzip2.Run() == nil, "bzip2 does not run")
	return packed.Bytes()
}

// upload sends a package without a length, as a stream, and waits for the operation.
func (c *client) upload(method, target string, body []byte, header http.Header) operation {
	listening := c.listen()
	stream := struct{ io.Reader }{bytes.NewReader(body)}
	return c.await(listening, opened(c.send(method, target, stream, header)))
}

func (c *client) application(id string) (app application) {
	c.get("/1.0/applications/"+id, &app)
	return
}

func (c *client) uploadZip() {
	body := zipped(manifest("interop"))
	sum := sha256.Sum256(body)
	header := http.Header{
		"Content-Type":      {"application/octet-stream"},
		"X-Ams-Fingerprint": {hex.EncodeToString(sum[:])},
		"X-Ams-Request":     {"{}"},
	}
	op := c.upload("POST", "/1.0/applications", body, header)
	must(op.StatusCode == 200, "%d %s", op.StatusCode, op.Err)
	c.app = resource(op, "applications")
	app := c.application(c.app)
	must(app.Name == "interop" && app.Status == "ready" && app.Code == 2, "%+v", app)
	must(app.Published && len(app.Versions) == 1 && app.Versions[0].Published, "%+v", app)

	version := fmt.Sprintf("/1.0/applications/%s/%d", c.app, app.Versions[0].Number)
	c.done("PATCH", version, object{"published": false})
	must(!c.application(c.app).Published, "it is still published")
	code, _ := c.refused("POST", "/1.0/instances", object{"app_id": c.app})
	must(code == 400, "an unpublished application was launched: %d", code)
	c.done("PATCH", version, object{"published": true})
	op = c.done("POST", "/1.0/instances", object{"app_id": c.app, "app_version": -1})
	c.instance = resource(op, "instances")
}

func (c *client) uploadTar() {
	op := c.upload("PATCH", "/1.0/applications/"+c.app, tarBzipped(manifest("interop")), nil)
	must(op.StatusCode == 200, "%d %s", op.StatusCode, op.Err)
	app := c.application(c.app)
	must(len(app.Versions) == 2 && app.Versions[1].Number == app.Versions[0].Number+1, "%+v", app)
}

func (c *client) uploadCorrupt() {
	header := http.Header{"X-Ams-Fingerprint": {strings.Repeat("0", 64)}}
	body := zipped(manifest("corrupt"))
	_, wrapped := c.send("POST", "/1.0/applications", bytes.NewReader(body), header)
	must(wrapped.Type == "error" && wrapped.ErrorCode == 400, "%+v", wrapped)
	_, wrapped = c.send("POST", "/1.0/applications", strings.NewReader("name: bare"), nil)
	must(wrapped.Type == "error" && wrapped.ErrorCode == 400, "%+v", wrapped)
	code, _ := c.refused("GET", "/1.0/applications/corrupt", nil)
	must(code == 404, "%d", code)
}

func (c *client) instances() {
	c.listen().seen = nil
	op := c.done("POST", "/1.0/instances", object{
		"name": "interop-1", "app_id": *appName, "tags": []string{"session=x", "interop"},
		"user_data": "luggage", "resources": object{"cpus": 2, "disk_size": 3},
		"config": object{"platform": "webrtc", "display": object{"width": 720, "height": 1280}},
	})
	id := resource(op, "instances")
	var one instance
	c.get("/1.0/instances/"+id, &one)
	must(one.Status == "running" && one.Code == 4 && one.Node != "", "%+v", one)
	must(one.Name == "interop-1" && one.AppName == *appName && one.Created > 0, "%+v", one)
	must(len(one.Tags) == 2 && one.Config.Display.Width == 720, "%+v", one)
	must(one.Resources.CPUs == 2 && one.Resources.DiskSize == 3, "%+v", one)
	expected := []string{}
	for _, action := range []string{"created", "scheduled", "started", "running"} {
		expected = append(expected, "instance-"+action+" "+id)
	}
	must(fmt.Sprint(c.events.seen) == fmt.Sprint(expected), "events %v", c.events.seen)

	code, why := c.refused("POST", "/1.0/instances", object{"name": "interop-1", "app_id": *appName})
	must(code == 409 && why == "instance already exists", "%d %q", code, why)
	c.done("DELETE", "/1.0/instances/interop-1", object{"force": true})
	code, _ = c.refused("GET", "/1.0/instances/"+id, nil)
	must(code == 404, "%d", code)
}

func (c *client) zeroValues() {
	op := c.done("POST", "/1.0/instances", object{
		"name": "", "type": "", "app_id": *appName, "app_version": nil, "image_id": "",
		"image_version": nil, "node": "", "user_data": "", "addons": nil, "services": nil,
		"resources": object{"cpus": nil, "memory": nil, "disk_size": nil}, "tags": nil,
		"config": object{"platform": "", "display": object{"width": 0, "height": 0, "fps": 0, "density": 0}},
		"source": object{"type": "", "id": ""}, "no_start": false,
	})
	var one instance
	c.get("/1.0/instances/"+resource(op, "instances"), &one)
	must(one.Name == "ams-"+one.ID && one.Tags != nil && one.Services != nil, "%+v", one)
	// The end-to-end tests delete without a body.
	c.done("DELETE", "/1.0/instances/"+one.ID, nil)
}

func (c *client) filters() {
	for _, query := range []string{"tags=none", "name=none", "status=error", "app_id=none"} {
		_, wrapped := c.call("GET", "/1.0/instances?recursion=1&"+query, nil)
		must(string(wrapped.Metadata) == "[]", "%s: %s", query, wrapped.Metadata)
	}
	var all []instance
	c.get("/1.0/instances?recursion=1&app_name=interop", &all)
	must(len(all) == 1 && all[0].ID == c.instance, "%+v", all)
	var urls []string
	c.get("/1.0/instances?app_name=interop", &urls)
	must(len(urls) == 1 && urls[0] == "/1.0/instances/"+c.instance, "%v", urls)
}

func (c *client) startStop() {
	for _, wish := range []struct{ desired, status string }{{"stopped", "stopped"}, {"running", "running"}} {
		c.done("PATCH", "/1.0/instances/"+c.instance+"?no_wait=false", object{"desired_status": wish.desired})
		var one instance
		c.get("/1.0/instances/"+c.instance, &one)
		must(one.Status == wish.status, "%s, not %s", one.Status, wish.status)
	}
	c.done("PATCH", "/1.0/instances/"+c.instance, object{
		"desired_status": nil, "config": object{"security": object{"delete_protected": true}},
	})
	code, _ := c.refused("DELETE", "/1.0/instances/"+c.instance, object{"force": false})
	must(code == 400, "a protected instance went: %d", code)
	c.done("PATCH", "/1.0/instances/"+c.instance, object{
		"config": object{"security": object{"delete_protected": false}},
	})
}

func (c *client) rawInstance() {
	op := c.done("POST", "/1.0/instances?no_wait=true", object{"image_id": "jammy:android15:amd64"})
	var one instance
	c.get("/1.0/instances/"+resource(op, "instances"), &one)
	must(one.AppID == "" && one.ImageID != "", "%+v", one)
	c.done("DELETE", "/1.0/instances", object{"ids": []string{one.ID}, "force": true})
	code, _ := c.refused("POST", "/1.0/instances", object{"image_id": "none"})
	must(code == 404, "%d", code)
}

func (c *client) operations() {
	op := opened(c.call("POST", "/1.0/instances", object{"name": "waited", "app_id": *appName}))
	var ended operation
	c.get("/1.0/operations/"+op.ID+"/wait?timeout=-1", &ended)
	must(ended.StatusCode == 200 && ended.Status == "Success" && ended.ID == op.ID, "%+v", ended)
	var urls map[string][]string
	c.get("/1.0/operations", &urls)
	must(contains(urls["success"], "/1.0/operations/"+op.ID), "%v", urls["success"])
	var objects map[string][]operation
	c.get("/1.0/operations?recursion=1", &objects)
	must(len(objects["success"]) == len(urls["success"]), "%d", len(objects["success"]))
	code, _ := c.refused("DELETE", "/1.0/operations/"+op.ID, nil)
	must(code == 400, "a finished operation was cancelled: %d", code)
	code, _ = c.refused("GET", "/1.0/operations/none", nil)
	must(code == 404, "%d", code)
	c.done("DELETE", "/1.0/instances/waited", object{"force": true})
}

func (c *client) errors() {
	for _, fails := range []struct {
		method, target string
		body           interface{}
		code           int
		text           string
	}{
		{"GET", "/1.0/nothing", nil, 404, "page not found"},
		{"GET", "/1.0/instances/none", nil, 404, "instance not found"},
		{"POST", "/1.0/instances", object{"app_id": "none"}, 404, "application not found"},
		{"POST", "/1.0/instances", object{}, 400, "argument app_id is invalid"},
		{"POST", "/1.0/instances", []int{1}, 400, "argument body is invalid"},
		{"DELETE", "/1.0/applications/none", object{"force": false}, 404, "application not found"},
	} {
		code, text := c.refused(fails.method, fails.target, fails.body)
		must(code == fails.code && text == fails.text, "%s %s: %d %q", fails.method, fails.target, code, text)
	}
}

func (c *client) unsupported() {
	at := "/1.0/instances/" + c.instance
	for _, target := range []string{at + "/exec", at + "/shares"} {
		code, text := c.refused("POST", target, object{})
		must(code == 400 && strings.HasSuffix(text, "not supported"), "%s: %d %q", target, code, text)
	}
	var logs []string
	c.get(at+"/logs", &logs)
	must(logs != nil && len(logs) == 0, "%v", logs)
	code, _ := c.refused("GET", at+"/logs/system.log", nil)
	must(code == 404, "%d", code)
}

func (c *client) teardown() {
	var all []instance
	c.get("/1.0/instances?recursion=1", &all)
	for _, one := range all {
		must(one.Tags != nil, "an instance without tags")
	}
	opened(c.call("DELETE", "/1.0/instances/"+c.instance, nil))
	c.done("DELETE", "/1.0/applications/"+c.app, object{"force": false})
	code, _ := c.refused("GET", "/1.0/applications/"+c.app, nil)
	must(code == 404, "%d", code)
	c.events.conn.Close()
}
