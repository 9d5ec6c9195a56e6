package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// What a guest may need before it ends: what it writes to its disks, and memory of its own.
const (
	roomOnDisk   = 2 << 30 // bytes
	roomInMemory = 1 << 30 // bytes
)

// Room says what there is too little of for another guest whose disks lie in dir, beside so many that were just begun and have not
// taken theirs yet, and what to do; empty for nothing. What cannot be told is taken for enough.
func Room(dir string, begun int) string {
	onDisk, inMemory := uint64(begun+1)*roomOnDisk, uint64(begun+1)*roomInMemory
	for existing := dir; ; existing = filepath.Dir(existing) {
		var fs unix.Statfs_t
		err := unix.Statfs(existing, &fs)
		if errors.Is(err, unix.ENOENT) && existing != filepath.Dir(existing) {
			continue
		}
		if free := fs.Bavail * uint64(fs.Bsize); err == nil && free < onDisk {
			return fmt.Sprintf("%s are free on the file system of %s, what begins may need %s: make room, vdevil gc and vdevil rm do",
				humanize.IBytes(free), dir, humanize.IBytes(onDisk))
		}
		break
	}
	if free, ok := memory(); ok && free < inMemory {
		return fmt.Sprintf("%s of memory are available, what begins may need %s: end something, or give fewer --jobs", humanize.IBytes(free), humanize.IBytes(inMemory))
	}
	return ""
}

// memory is what Linux could give to a new process, in bytes (proc_meminfo(5), MemAvailable).
func memory() (free uint64, ok bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if kib, found := strings.CutPrefix(s.Text(), "MemAvailable:"); found {
			n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(kib, "kB")), 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}
