package slots

import (
	_ "embed"
	"encoding/binary"
	"hash/crc32"
)

//go:embed boot.cmd
var script []byte

// U-Boot's form of a script, "legacy uImage": include/image.h in its source.
const (
	imageMagic   = 0x27051956
	imageHeader  = 64
	osLinux      = 5
	archARM64    = 22
	kindScript   = 6
	nameAt       = 32
	headerSumAt  = 4
	sizeAt       = 12
	contentSumAt = 24
	kindAt       = 28
)

// Script is the boot loader's script as U-Boot reads it. It has no date.
func Script() []byte {
	content := make([]byte, 8, 8+len(script)) // a list of one length
	binary.BigEndian.PutUint32(content, uint32(len(script)))
	content = append(content, script...)

	header := make([]byte, imageHeader)
	binary.BigEndian.PutUint32(header, imageMagic)
	binary.BigEndian.PutUint32(header[sizeAt:], uint32(len(content)))
	binary.BigEndian.PutUint32(header[contentSumAt:], crc32.ChecksumIEEE(content))
	copy(header[kindAt:], []byte{osLinux, archARM64, kindScript, 0})
	copy(header[nameAt:], "antler")
	// Of the header with zeros where the sum goes.
	binary.BigEndian.PutUint32(header[headerSumAt:], crc32.ChecksumIEEE(header))

	return append(header, content...)
}
