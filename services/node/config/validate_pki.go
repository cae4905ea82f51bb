package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

const renewHint = "run `antlerctl gen config` again with the cluster's ca.yaml and give the node its new file"

func (c *Config) validatePKI(p *Problems, now time.Time) {
	ca, err := parseCertificate(c.PKI.CA)
	if err != nil {
		p.add("pki.ca", err.Error(), genHint)
	} else if !ca.IsCA {
		p.add("pki.ca", fmt.Sprintf("the certificate of %q is not one of a CA", ca.Subject.CommonName), genHint)
	}

	cert, err := parseCertificate(c.PKI.Cert)
	if err != nil {
		p.add("pki.cert", err.Error(), genHint)

		return
	}

	c.validateKey(p, cert)
	c.validateSubject(p, cert)
	validateTime(p, "pki.cert", cert, now)

	if ca == nil {
		return
	}

	validateTime(p, "pki.ca", ca, now)

	// Not Verify: it would report the times once more, or instead.
	if cert.CheckSignatureFrom(ca) != nil {
		p.add("pki.cert", fmt.Sprintf("is foreign: %q did not sign it, %q did", ca.Subject.CommonName, cert.Issuer.CommonName), renewHint)
	}
}

func (c *Config) validateKey(p *Problems, cert *x509.Certificate) {
	_, err := tls.X509KeyPair([]byte(c.PKI.Cert), []byte(c.PKI.Key))
	if err == nil {
		return
	}

	if block, _ := pem.Decode([]byte(c.PKI.Key)); block == nil {
		p.add("pki.key", "is missing or is not PEM", genHint)

		return
	}

	p.add("pki.key", fmt.Sprintf("is not the key of the certificate of %q", cert.Subject.CommonName), genHint)
}

func (c *Config) validateSubject(p *Problems, cert *x509.Certificate) {
	if cert.Subject.CommonName != c.Node.Name {
		p.add("pki.cert", fmt.Sprintf("belongs to %q, and this is %q", cert.Subject.CommonName, c.Node.Name), "take this node's own file")

		return
	}

	if !slices.Contains(cert.Subject.Organization, OrganizationNode) {
		p.add("pki.cert", fmt.Sprintf("is for %v, not for a node", cert.Subject.Organization), renewHint)
	}

	names := []string{c.Node.Name}
	if address := c.Self().Address; address.IsValid() {
		names = append(names, address.String())
	}

	for _, name := range names {
		if cert.VerifyHostname(name) != nil {
			p.add("pki.cert", fmt.Sprintf("does not name %s, so others would not trust it there", name), renewHint)
		}
	}
}

func validateTime(p *Problems, path string, cert *x509.Certificate, now time.Time) {
	const day = time.DateOnly

	switch {
	case now.After(cert.NotAfter):
		p.add(path, "expired on "+cert.NotAfter.UTC().Format(day), renewHint)
	case now.Before(cert.NotBefore):
		p.add(path, fmt.Sprintf("is not valid before %s, and it is %s here", cert.NotBefore.UTC().Format(day), now.UTC().Format(day)), "set the clock")
	}
}

func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("is missing or is not PEM")
	}

	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("is damaged")
	}

	return cert, nil
}

// TLSCertificate returns the node's certificate with its key, and the pool with
// the cluster's CA and nothing else.
func (k PKI) TLSCertificate() (tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.X509KeyPair([]byte(k.Cert), []byte(k.Key))
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("use certificate: %w", err)
	}

	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(k.CA)) {
		return tls.Certificate{}, nil, errors.New("use CA certificate: it is missing or is not PEM")
	}

	return pair, pool, nil
}

// Expires returns when the first of the node's certificate and the CA's is no longer good.
func (p PKI) Expires() (time.Time, error) {
	ca, err := parseCertificate(p.CA)
	if err != nil {
		return time.Time{}, fmt.Errorf("read pki.ca: %w", err)
	}

	cert, err := parseCertificate(p.Cert)
	if err != nil {
		return time.Time{}, fmt.Errorf("read pki.cert: %w", err)
	}

	if ca.NotAfter.Before(cert.NotAfter) {
		return ca.NotAfter, nil
	}

	return cert.NotAfter, nil
}
