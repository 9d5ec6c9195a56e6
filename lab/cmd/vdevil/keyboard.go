package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// keyboard gives the keys of a terminal one by one. Ctrl-C is none of them: the terminal itself obeys it, as ever, and in whatever
// state the command is. Ctrl-Z is one, as the terminal must be in order before the process stops.
type keyboard struct {
	fd    int
	saved *unix.Termios
	guard *guard
	stop  *os.File      // closed to end the reading
	done  chan struct{} // closed when it has ended
}

// takeKeyboard begins to read, unless in is no terminal, or one whose keys are for others. Nil is a keyboard that gives none.
func takeKeyboard(in io.Reader, press func(key string)) *keyboard {
	fd, ok := terminal(in)
	if !ok || !foreground(fd) {
		return nil
	}
	saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil
	}
	stopped, stop, err := os.Pipe()
	if err != nil {
		return nil
	}
	k := &keyboard{fd: fd, saved: saved, stop: stop, done: make(chan struct{})}
	if k.guard, err = newGuard(in.(*os.File), saved); err != nil {
		stopped.Close()
		stop.Close()
		return nil
	}
	single := *saved
	single.Lflag &^= unix.ICANON | unix.ECHO
	single.Cc[unix.VMIN], single.Cc[unix.VTIME], single.Cc[unix.VSUSP] = 1, 0, 0
	_ = unix.IoctlSetTermios(fd, unix.TCSETS, &single) // otherwise keys come a line at a time
	go func() {
		defer close(k.done)
		defer stopped.Close()
		k.read(int(stopped.Fd()), press)
	}()
	return k
}

// read ends when the other end of stopped is closed, or the terminal is.
func (k *keyboard) read(stopped int, press func(string)) {
	buf := make([]byte, 64)
	for {
		fds := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}, {Fd: int32(stopped), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		} else if err != nil || fds[1].Revents != 0 {
			return
		}
		n, err := unix.Read(k.fd, buf)
		if n <= 0 || err != nil {
			return
		}
		for _, key := range keysOf(string(buf[:n]), k.saved.Cc[unix.VSUSP]) {
			press(key)
		}
	}
}

// release gives the terminal back as it was.
func (k *keyboard) release() {
	if k == nil {
		return
	}
	k.stop.Close()
	<-k.done
	if foreground(k.fd) { // otherwise the shell has it, as it likes it
		_ = unix.IoctlSetTermios(k.fd, unix.TCSETS, k.saved) // one that is gone needs nothing
	}
	k.guard.close()
}

// named are the keys that are no character, as terminals send them (ECMA-48, and DEC's application mode).
var named = map[string]string{
	"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\t": "tab", "\r": "enter", "\n": "enter", "\x1b": "esc",
}

// stopKey is what the key is called that stops a process.
const stopKey = "stop"

// keysOf parts what was read into keys. Sequences of no known key are none. stop is the character of that one, 0 for none.
func keysOf(text string, stop byte) (keys []string) {
	for text != "" {
		n := 1
		if text[0] == '\x1b' {
			n = sequence(text)
		}
		key, known := named[text[:n]]
		switch {
		case text[0] == stop && stop != 0:
			keys = append(keys, stopKey)
		case known:
			keys = append(keys, key)
		case n == 1 && text[0] >= ' ' && text[0] < 0x7f:
			keys = append(keys, text[:1])
		}
		text = text[n:]
	}
	return keys
}

// sequence is the length of the sequence that begins with an escape.
func sequence(text string) int {
	if len(text) < 2 || text[1] != '[' && text[1] != 'O' {
		return 1
	}
	for i := 2; i < len(text); i++ {
		if text[i] >= '@' && text[i] <= '~' {
			return i + 1
		}
	}
	return len(text)
}

// foreground says whether a terminal listens to this process, as far as it is the one of its session.
func foreground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}
