package gen

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"antler/services/node/config"
)

// How long certificates are valid. People's are the shortest, since they leave
// the machine room.
const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	nodeLifetime   = 5 * 365 * 24 * time.Hour
	personLifetime = 365 * 24 * time.Hour
)

// validFrom lies in the past on purpose: a board without a battery starts with
// the time of its system's build, and must be able to form a cluster then.
func validFrom() time.Time { return time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC) }

// Authority is a certificate authority.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	// Cert and Key are the PEM blocks.
	Cert, Key string
}

// NewAuthority makes the CA of the cluster called name.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}

	template, err := template(pkix.Name{CommonName: "antler " + name, Organization: []string{"antler:ca"}}, now.Add(caLifetime))
	if err != nil {
		return nil, err
	}

	template.IsCA = true
	template.BasicConstraintsValid = true
	// It signs certificates of the cluster's members and nothing else.
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign

	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}

	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}

	return LoadAuthority(encodeCert(der), keyPEM)
}

// LoadAuthority returns the CA with these PEM blocks.
func LoadAuthority(certPEM, keyPEM string) (*Authority, error) {
	certBlock, _ := pem.Decode([]byte(certPEM))
	keyBlock, _ := pem.Decode([]byte(keyPEM))

	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("load CA: certificate or key is missing or is not PEM")
	}

	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("load CA certificate: %w", err)
	}

	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("load CA key: %w", err)
	}

	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("load CA: the key is not that of the certificate")
	}

	return &Authority{cert: cert, key: key, Cert: certPEM, Key: keyPEM}, nil
}

// Node issues the certificate of a member: for its own name and addresses, for
// the floating addresses, which every member may have to answer on, and for the
// machine itself.
func (a *Authority) Node(member config.Member, cluster config.Cluster, now time.Time) (config.PKI, error) {
	template, err := template(pkix.Name{CommonName: member.Name, Organization: []string{config.OrganizationNode}}, now.Add(nodeLifetime))
	if err != nil {
		return config.PKI{}, err
	}

	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{member.Name, "localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}

	if member.Address.IsValid() {
		template.IPAddresses = append(template.IPAddresses, member.Address.AsSlice())
	}

	for _, floating := range cluster.Floating {
		if floating.IsValid() {
			template.IPAddresses = append(template.IPAddresses, floating.Addr().AsSlice())
		}
	}

	return a.issue(template)
}

// Person issues a client certificate for the organization (a role of package
// config), valid for the lifetime, or for a year where that is 0.
func (a *Authority) Person(name, organization string, now time.Time, lifetime time.Duration) (config.PKI, error) {
	if lifetime == 0 {
		lifetime = personLifetime
	}

	template, err := template(pkix.Name{CommonName: name, Organization: []string{organization}}, now.Add(lifetime))
	if err != nil {
		return config.PKI{}, err
	}

	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}

	return a.issue(template)
}

func (a *Authority) issue(template *x509.Certificate) (config.PKI, error) {
	name := template.Subject.CommonName

	// A certificate that outlives its CA says more than it can hold.
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return config.PKI{}, fmt.Errorf("make the key of %s: %w", name, err)
	}

	template.KeyUsage = x509.KeyUsageDigitalSignature

	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return config.PKI{}, fmt.Errorf("issue the certificate of %s: %w", name, err)
	}

	keyPEM, err := encodeKey(key)
	if err != nil {
		return config.PKI{}, err
	}

	return config.PKI{CA: a.Cert, Cert: encodeCert(der), Key: keyPEM}, nil
}

func template(subject pkix.Name, notAfter time.Time) (*x509.Certificate, error) {
	// 127 bits: positive and at most 20 octets, as RFC 5280 asks for.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}

	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    validFrom(),
		NotAfter:     notAfter,
	}, nil
}

func encodeCert(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func encodeKey(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encode key: %w", err)
	}

	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}
