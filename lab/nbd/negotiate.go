package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// negotiate comes to terms with the client and gives the export that it wants, nil when it wants none any more.
func (c *conn) negotiate() (*export, error) {
	big := binary.BigEndian
	hello := big.AppendUint64(nil, magicServer)
	hello = big.AppendUint64(hello, magicOption)
	hello = big.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := c.socket.Write(hello); err != nil {
		return nil, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(c.in, flags[:]); err != nil {
		return nil, fmt.Errorf("negotiate: %w", err)
	}
	f := big.Uint32(flags[:])
	if f&flagFixedNewstyle == 0 || f&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return nil, fmt.Errorf("negotiate: client flags %#x", f)
	}
	c.noZeroes = f&flagNoZeroes != 0
	for range maxOptions {
		e, done, err := c.option()
		if err != nil || done {
			return e, err
		}
	}
	return nil, errors.New("negotiate: the client has no end of options")
}

// option reads one option and replies.
func (c *conn) option() (_ *export, done bool, err error) {
	big := binary.BigEndian
	var head [optionSize]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, true, nil
		}
		return nil, true, err
	}
	if m := big.Uint64(head[:]); m != magicOption {
		return nil, true, fmt.Errorf("an option begins with %#x", m)
	}
	option, length := big.Uint32(head[8:]), big.Uint32(head[12:])
	if length > maxOption {
		if option == optExportName {
			return nil, true, fmt.Errorf("a name of %d bytes", length)
		}
		if _, err := io.CopyN(io.Discard, c.in, int64(length)); err != nil {
			return nil, true, err
		}
		return nil, false, c.optionReply(option, repErrTooBig, nil)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(c.in, data); err != nil {
		return nil, true, err
	}
	switch option {
	case optExportName:
		e, err := c.exportName(string(data))
		return e, true, err
	case optAbort:
		return nil, true, c.optionReply(option, repAck, nil)
	case optList:
		return nil, false, c.list(data)
	case optStructuredReply:
		if len(data) > 0 {
			return nil, false, c.optionReply(option, repErrInvalid, nil)
		}
		c.structured = true
		return nil, false, c.optionReply(option, repAck, nil)
	case optInfo, optGo:
		return c.info(option, data)
	}
	return nil, false, c.optionReply(option, repErrUnsup, nil)
}

func (c *conn) optionReply(option, kind uint32, data []byte) error {
	big := binary.BigEndian
	p := big.AppendUint64(nil, magicOptReply)
	p = big.AppendUint32(p, option)
	p = big.AppendUint32(p, kind)
	p = big.AppendUint32(p, uint32(len(data)))
	_, err := c.socket.Write(append(p, data...))
	return err
}

// exportName is the old way to choose: an unknown name ends the connection.
func (c *conn) exportName(name string) (*export, error) {
	e := c.server.find(name)
	if e == nil {
		return nil, fmt.Errorf("there is no export %q", name)
	}
	p := binary.BigEndian.AppendUint64(nil, uint64(e.Size))
	p = binary.BigEndian.AppendUint16(p, transmission)
	if !c.noZeroes {
		p = append(p, make([]byte, exportPadding)...)
	}
	_, err := c.socket.Write(p)
	return e, err
}

func (c *conn) list(data []byte) error {
	if len(data) > 0 {
		return c.optionReply(optList, repErrInvalid, nil)
	}
	for _, name := range c.server.names() {
		p := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
		if err := c.optionReply(optList, repServer, append(p, name...)); err != nil {
			return err
		}
	}
	return c.optionReply(optList, repAck, nil)
}

// info tells about an export; optGo begins transmission too.
func (c *conn) info(option uint32, data []byte) (_ *export, done bool, err error) {
	big := binary.BigEndian
	if len(data) < 6 || uint64(big.Uint32(data)) > uint64(len(data)-6) {
		return nil, false, c.optionReply(option, repErrInvalid, nil)
	}
	name := string(data[4 : 4+big.Uint32(data)])
	e := c.server.find(name)
	if e == nil {
		return nil, false, c.optionReply(option, repErrUnknown, []byte("there is no export "+name))
	}
	p := big.AppendUint16(nil, infoExport)
	p = big.AppendUint64(p, uint64(e.Size))
	p = big.AppendUint16(p, transmission)
	if err := c.optionReply(option, repInfo, p); err != nil {
		return nil, true, err
	}
	p = big.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{minBlock, preferredBlock, maxData} {
		p = big.AppendUint32(p, n)
	}
	if err := c.optionReply(option, repInfo, p); err != nil {
		return nil, true, err
	}
	if err := c.optionReply(option, repAck, nil); err != nil || option == optInfo {
		return nil, err != nil, err
	}
	return e, true, nil
}
