package gdb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Packets of the remote serial protocol ("Debugging with GDB", appendix E, Overview): $body#checksum, where } escapes
// the byte after it and x*n stands for x and n-29 more of it.
const (
	escape     = '}'
	escapeBit  = 0x20
	repeat     = '*'
	repeatBase = 29
	// maxBody bounds what a peer can make us hold. QEMU's packets are of 4 KiB, before repeats.
	maxBody = 1 << 20
)

var errNack = errors.New("the stub did not understand the last packet")

// encode makes a packet of a body.
func encode(body string) []byte {
	p := make([]byte, 0, len(body)+4)
	p = append(p, '$')
	for i := range len(body) {
		switch b := body[i]; b {
		case '$', '#', escape, repeat:
			p = append(p, escape, b^escapeBit)
		default:
			p = append(p, b)
		}
	}
	return fmt.Appendf(p, "#%02x", checksum(p[1:]))
}

func checksum(raw []byte) (sum byte) {
	for _, b := range raw {
		sum += b
	}
	return sum
}

// decode reads the next packet's body. Acknowledgements and noise before it are skipped. An error means that the two
// sides no longer understand each other: the connection is local and reliable, so that nothing is ever worth repeating.
func decode(r *bufio.Reader) (string, error) {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '-' {
			return "", errNack
		}
		if b == '$' {
			break
		}
	}
	var raw []byte
	for {
		part, err := r.ReadSlice('#')
		raw = append(raw, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if len(raw) > maxBody {
			return "", fmt.Errorf("a packet of more than %d bytes", maxBody)
		}
	}
	raw = raw[:len(raw)-1]
	var digits [2]byte
	for i := range digits {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		digits[i] = b
	}
	sum, err := strconv.ParseUint(string(digits[:]), 16, 8)
	if err != nil || byte(sum) != checksum(raw) {
		return "", fmt.Errorf("packet %.40q has checksum %02x and says %q", raw, checksum(raw), digits)
	}
	return expand(raw)
}

// expand undoes escapes and repeats.
func expand(raw []byte) (string, error) {
	body := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b != escape && b != repeat {
			body = append(body, b)
			continue
		}
		i++
		if i == len(raw) {
			return "", fmt.Errorf("packet %.40q ends inside %q", raw, b)
		}
		if b == escape {
			body = append(body, raw[i]^escapeBit)
			continue
		}
		n := int(raw[i]) - repeatBase
		if len(body) == 0 || n < 3 || raw[i] > '~' {
			return "", fmt.Errorf("packet %.40q repeats wrongly at %d", raw, i)
		}
		body = append(body, bytes.Repeat(body[len(body)-1:], n)...)
		if len(body) > maxBody {
			return "", fmt.Errorf("a packet of more than %d bytes", maxBody)
		}
	}
	return string(body), nil
}
