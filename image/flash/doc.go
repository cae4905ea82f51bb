// Package flash writes the image and a node's configuration to a card, or to a
// file that a virtual machine starts from, and reads back what it wrote.
//
// A wrong device costs somebody their disk. So all questions are asked before
// the first byte is written: the image is Antler's, the configuration is right,
// the device is a whole disk that nothing uses and large enough, and it is empty
// or the person said that it may be erased.
package flash
