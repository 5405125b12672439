// Answers questions about macaroons with the Go library, a line of JSON for a line of JSON.
//
// Built against Debian's golang-gopkg-macaroon.v2-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"time"
	"unicode/utf8"

	"gopkg.in/macaroon.v2"
)

type question struct {
	Op         string   `json:"op"`
	RootKey    []byte   `json:"root_key"`
	Location   string   `json:"location"`
	Identifier string   `json:"identifier"`
	Caveats    []string `json:"caveats"`
	ThirdParty bool     `json:"third_party"`
	Token      string   `json:"token"`
	Rounds     int      `json:"rounds"`
}

type answer struct {
	Token string `json:"token,omitempty"`
	// What a verifier found: whether the text is a macaroon that the key has signed, the one form
	// in which the library writes it, and what it holds.
	Valid      bool     `json:"valid"`
	Canonical  string   `json:"canonical,omitempty"`
	Location   string   `json:"location"`
	Text       bool     `json:"text"`
	Caveats    []string `json:"caveats"`
	ThirdParty bool     `json:"third_party"`
	// Nanoseconds for one round.
	Mint   float64 `json:"mint_ns,omitempty"`
	Verify float64 `json:"verify_ns,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for lines.Scan() {
		line, err := json.Marshal(reply(lines.Bytes()))
		if err != nil {
			panic(err)
		}
		out.Write(append(line, '\n'))
		out.Flush()
	}
}

func reply(line []byte) answer {
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return answer{Error: err.Error()}
	}
	var a answer
	var err error
	switch q.Op {
	case "mint":
		a.Token, err = mint(q)
	case "attenuate":
		a.Token, err = attenuate(q)
	case "verify":
		a, err = verify(q)
	case "bench":
		a, err = bench(q)
	default:
		err = errors.New("no such op")
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func mint(q question) (string, error) {
	m, err := macaroon.New(q.RootKey, []byte(q.Identifier), q.Location, macaroon.V2)
	if err != nil {
		return "", err
	}
	return narrowed(m, q)
}

func attenuate(q question) (string, error) {
	m, err := decode(q.Token)
	if err != nil {
		return "", err
	}
	return narrowed(m, q)
}

func narrowed(m *macaroon.Macaroon, q question) (string, error) {
	for _, caveat := range q.Caveats {
		if err := m.AddFirstPartyCaveat([]byte(caveat)); err != nil {
			return "", err
		}
	}
	if q.ThirdParty {
		if err := m.AddThirdPartyCaveat([]byte("shared"), []byte("who are you"), "elsewhere"); err != nil {
			return "", err
		}
	}
	return encode(m)
}

func verify(q question) (answer, error) {
	m, err := decode(q.Token)
	if err != nil {
		return answer{}, err
	}
	canonical, err := encode(m)
	if err != nil {
		return answer{}, err
	}
	a := answer{Canonical: canonical, Location: m.Location(), Text: utf8.ValidString(m.Location()) && utf8.Valid(m.Id())}
	for _, caveat := range m.Caveats() {
		a.Text = a.Text && utf8.Valid(caveat.Id)
		a.ThirdParty = a.ThirdParty || len(caveat.VerificationId) > 0
		a.Caveats = append(a.Caveats, string(caveat.Id))
	}
	_, err = m.VerifySignature(q.RootKey, nil)
	a.Valid = err == nil
	return a, nil
}

func bench(q question) (answer, error) {
	started := time.Now()
	for n := 0; n < q.Rounds; n++ {
		if _, err := mint(q); err != nil {
			return answer{}, err
		}
	}
	minted := time.Now()
	for n := 0; n < q.Rounds; n++ {
		m, err := decode(q.Token)
		if err != nil {
			return answer{}, err
		}
		if _, err := m.VerifySignature(q.RootKey, nil); err != nil {
			return answer{}, err
		}
	}
	rounds := float64(q.Rounds)
	return answer{
		Mint:   float64(minted.Sub(started).Nanoseconds()) / rounds,
		Verify: float64(time.Since(minted).Nanoseconds()) / rounds,
	}, nil
}

func decode(text string) (*macaroon.Macaroon, error) {
	bytes, err := macaroon.Base64Decode([]byte(text))
	if err != nil {
		return nil, err
	}
	m := new(macaroon.Macaroon)
	return m, m.UnmarshalBinary(bytes)
}

func encode(m *macaroon.Macaroon) (string, error) {
	bytes, err := m.MarshalBinary()
	return base64.RawURLEncoding.EncodeToString(bytes), err
}
