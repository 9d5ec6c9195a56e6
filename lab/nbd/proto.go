package nbd

import (
	"errors"
	"syscall"
)

// The numbers of the protocol, in the order of its description.
const (
	magicServer     = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicOptReply   = 0x3e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef

	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1

	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8

	repAck        = 1
	repServer     = 2
	repInfo       = 3
	repErrUnsup   = 1<<31 | 1
	repErrInvalid = 1<<31 | 3
	repErrUnknown = 1<<31 | 6
	repErrTooBig  = 1<<31 | 9

	infoExport    = 0
	infoBlockSize = 3

	transHasFlags   = 1 << 0
	transFlush      = 1 << 2
	transFUA        = 1 << 3
	transTrim       = 1 << 5
	transZeroes     = 1 << 6
	transmission    = transHasFlags | transFlush | transFUA | transTrim | transZeroes
	exportPadding   = 124 // zeroes after the export of optExportName
	requestSize     = 28
	optionSize      = 16
	maxOption       = 8 << 10  // of an option's data; a name has 4096 bytes at most
	maxOptions      = 64       // of one negotiation
	minBlock        = 1        // what QEMU rounds to is its own business
	preferredBlock  = 4 << 10  // bytes
	maxData         = 32 << 20 // of a request, QEMU's own limit (NBD_MAX_BUFFER_SIZE)
	maxRequests     = 16       // in flight on a connection; QEMU has as many (MAX_NBD_REQUESTS)
	cmdRead         = 0
	cmdWrite        = 1
	cmdDisc         = 2
	cmdFlush        = 3
	cmdTrim         = 4
	cmdWriteZeroes  = 6
	cmdFlagFUA      = 1 << 0
	chunkDone       = 1 << 0 // flag
	chunkOffsetData = 1      // types
	chunkError      = 1<<15 | 1
)

// known are the error numbers that the protocol has; they are Linux's.
var known = []syscall.Errno{
	syscall.EPERM, syscall.EIO, syscall.ENOMEM, syscall.EINVAL, syscall.ENOSPC, syscall.EOVERFLOW, syscall.ENOTSUP, syscall.ESHUTDOWN,
}

// errno is what a client is told of an error.
func errno(err error) uint32 {
	var no syscall.Errno
	if errors.As(err, &no) {
		for _, k := range known {
			if no == k {
				return uint32(no)
			}
		}
	}
	if err == nil {
		return 0
	}
	return uint32(syscall.EIO)
}
