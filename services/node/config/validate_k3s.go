package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// maxToken is far above any token of k3s: those with the hash of the CA in front
// have some hundred bytes.
const maxToken = 512

func (k K3s) validate(p *Problems) {
	const path = "node.k3s"

	switch k.Role {
	case K3sServer, K3sAgent:
	case "":
		if k != (K3s{}) {
			p.add(path+".role", "is missing", fmt.Sprintf("write %s or %s, or remove k3s", K3sServer, K3sAgent))
		}

		return
	default:
		p.add(path+".role", fmt.Sprintf("%q is not a role of k3s", k.Role), fmt.Sprintf("write %s or %s", K3sServer, K3sAgent))
	}

	k.validateJoining(p, path)

	if reason := tokenFault(k.Token); reason != "" {
		p.add(path+".token", reason, "copy the whole line of "+K3sData+"/server/token from a server, or choose a long word")
	}
}

func (k K3s) validateJoining(p *Problems, path string) {
	if k.Server == "" {
		if k.Role == K3sAgent {
			p.add(path+".server", "is missing: an agent joins a server", "write for example https://192.168.1.11:6443")
		}

		return
	}

	if reason := serverFault(k.Server); reason != "" {
		p.add(path+".server", reason, "write for example https://192.168.1.11:6443")
	}

	if k.Token == "" {
		p.add(path+".token", "is missing: nobody joins a server without one", "write the token that the server has")
	}
}

// serverFault says what is wrong with the URL of a server. The text is not
// repeated whole: it may have a password in it.
func serverFault(text string) string {
	server, err := url.Parse(text)

	switch {
	case err != nil:
		return "is not a URL"
	case server.User != nil:
		return "has a user's name in it, which k3s has no use for"
	case server.Scheme != "https" || server.Hostname() == "":
		return fmt.Sprintf("%q is not the https URL of a server", text)
	case strings.Trim(server.Path, "/") != "" || server.RawQuery != "" || server.Fragment != "":
		return fmt.Sprintf("%q has more in it than host and port", text)
	}

	port := server.Port()
	if number, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || number == 0) {
		return fmt.Sprintf("%q is not a port", port)
	}

	return ""
}

// tokenFault never repeats the token.
func tokenFault(token string) string {
	if len(token) > maxToken {
		return fmt.Sprintf("has %d bytes, more than any token", len(token))
	}

	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if strings.ContainsFunc(token, odd) {
		return "has blanks or other characters in it that no token has"
	}

	return ""
}
