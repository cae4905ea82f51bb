package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The parts of SPDX 2.3 that a list of packages needs:
// https://spdx.github.io/spdx-spec/v2.3/
type spdxDocument struct {
	SPDXVersion       string             `json:"spdxVersion"`
	DataLicense       string             `json:"dataLicense"`
	SPDXID            string             `json:"SPDXID"`
	Name              string             `json:"name"`
	DocumentNamespace string             `json:"documentNamespace"`
	CreationInfo      spdxCreation       `json:"creationInfo"`
	Packages          []spdxPackage      `json:"packages"`
	Relationships     []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	SPDXID           string         `json:"SPDXID"`
	Name             string         `json:"name"`
	VersionInfo      string         `json:"versionInfo,omitempty"`
	Supplier         string         `json:"supplier,omitempty"`
	DownloadLocation string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	Checksums        []spdxChecksum `json:"checksums,omitempty"`
	LicenseConcluded string         `json:"licenseConcluded"`
	LicenseDeclared  string         `json:"licenseDeclared"`
	CopyrightText    string         `json:"copyrightText"`
	Comment          string         `json:"comment,omitempty"`
	ExternalRefs     []spdxRef      `json:"externalRefs,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const (
	noAssertion = "NOASSERTION"
	spdxImage   = "SPDXRef-image"
)

// writeSBOM says what is in the image, as SPDX: Debian's packages from the lock,
// and the Go modules that the programs themselves say they are made of.
func (b build) writeSBOM(set lock) error {
	doc := newSBOM(b.version, set)
	files := []string{filepath.Join(b.out, "init")}
	for _, name := range programs {
		files = append(files, filepath.Join(b.bin, name))
	}
	for _, file := range files {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read what %s is made of: %w", file, err)
		}
		doc.addProgram(filepath.Base(file), b.version, info)
	}
	doc.addK3s(b.k3s)
	text, err := doc.encode()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.out, "antler.spdx.json"), text, 0o644)
}

func newSBOM(version string, set lock) *spdxDocument {
	doc := &spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
		Name:         "antler-" + version + "-arm64",
		CreationInfo: spdxCreation{Created: buildTime().Format(time.RFC3339), Creators: []string{"Tool: antler-image-" + version}},
	}
	doc.Packages = append(doc.Packages, spdxPackage{
		SPDXID: spdxImage, Name: "antler-image", VersionInfo: version,
		DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, CopyrightText: noAssertion,
	})
	doc.relate(doc.SPDXID, "DESCRIBES", spdxImage)
	for _, p := range set.packages {
		id := spdxID("deb", p.name)
		doc.Packages = append(doc.Packages, spdxPackage{
			SPDXID: id, Name: p.name, VersionInfo: p.version, Supplier: "Organization: Debian",
			DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, CopyrightText: noAssertion,
			Checksums: []spdxChecksum{{"SHA256", p.sha256}},
			Comment:   "Licence and copyright: usr/share/doc/" + p.name + "/copyright in the image. What an appliance has no use for was removed.",
			ExternalRefs: []spdxRef{{"PACKAGE-MANAGER", "purl",
				fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", purlEscape(p.name), purlEscape(p.version), p.arch, suite)}},
		})
		doc.relate(spdxImage, "CONTAINS", id)
	}
	return doc
}

// addProgram adds a program of ours with the modules linked into it.
func (d *spdxDocument) addProgram(name, version string, info *debug.BuildInfo) {
	id := spdxID("program", name)
	d.Packages = append(d.Packages, spdxPackage{
		SPDXID: id, Name: name, VersionInfo: version, DownloadLocation: noAssertion,
		LicenseConcluded: "Apache-2.0", LicenseDeclared: "Apache-2.0", CopyrightText: noAssertion,
	})
	d.relate(spdxImage, "CONTAINS", id)
	modules := []*debug.Module{{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, m)
	}
	for _, m := range modules {
		d.relate(id, "STATIC_LINK", d.addModule(m))
	}
}

// addK3s names k3s as a whole: what it is made of it doesn't say.
func (d *spdxDocument) addK3s(k k3s) {
	if !k.given() {
		return
	}
	id := spdxID("program", "k3s")
	d.Packages = append(d.Packages, spdxPackage{
		SPDXID: id, Name: "k3s", VersionInfo: k.version, DownloadLocation: noAssertion,
		LicenseConcluded: noAssertion, LicenseDeclared: "Apache-2.0", CopyrightText: noAssertion,
		Checksums: []spdxChecksum{{"SHA256", k.sha256}},
		Comment:   "Given to the build with this version and SHA-256. It packs other programs, which are not listed here.",
	})
	d.relate(spdxImage, "CONTAINS", id)
}

// addModule adds a Go module once and returns its id.
func (d *spdxDocument) addModule(m *debug.Module) string {
	id := spdxID("go", m.Path+"-"+m.Version)
	if slices.ContainsFunc(d.Packages, func(p spdxPackage) bool { return p.SPDXID == id }) {
		return id
	}
	segments := strings.Split(m.Path, "/")
	for i, s := range segments {
		segments[i] = purlEscape(s)
	}
	d.Packages = append(d.Packages, spdxPackage{
		SPDXID: id, Name: m.Path, VersionInfo: m.Version,
		DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, CopyrightText: noAssertion,
		ExternalRefs: []spdxRef{{"PACKAGE-MANAGER", "purl", fmt.Sprintf("pkg:golang/%s@%s", strings.Join(segments, "/"), purlEscape(m.Version))}},
	})
	return id
}

func (d *spdxDocument) relate(element, kind, related string) {
	d.Relationships = append(d.Relationships, spdxRelationship{element, kind, related})
}

// encode names the document after its content: the same packages are the same
// document.
func (d *spdxDocument) encode() ([]byte, error) {
	d.DocumentNamespace = ""
	content, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	d.DocumentNamespace = "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceOID, content).String()
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

var notInSPDXID = regexp.MustCompile(`[^a-zA-Z0-9.-]`)

// spdxID makes an identifier of what may hold any character; what it leaves out
// must not make two names one, so it is written as a number.
func spdxID(kind, name string) string {
	escape := func(s string) string { return fmt.Sprintf("-%x-", s) }
	return "SPDXRef-" + kind + "-" + notInSPDXID.ReplaceAllStringFunc(name, escape)
}

// purlEscape is the percent-encoding of a package URL, in which a "+" is no
// blank: https://github.com/package-url/purl-spec
func purlEscape(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "%7E", "~")
}
