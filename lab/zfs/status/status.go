// Package status reads what zpool status says of a pool.
package status

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Pool is what zpool status -vp says of one pool. All versions print it as text; only 2.3 and later as JSON too.
type Pool struct {
	Name string `json:"pool"`
	// State is ONLINE, DEGRADED, FAULTED, OFFLINE, REMOVED, UNAVAIL or SUSPENDED.
	State string `json:"state"`
	// Notice is the "status:" text: what is wrong, in one paragraph. Empty when nothing is.
	Notice string `json:"notice"`
	// Scan is the "scan:" text, one line a fact. Empty when no scrub and no resilver has ever run.
	Scan string `json:"scan"`
	// ScanRunning is set while a scrub or resilver is at work, not when it is paused.
	ScanRunning bool `json:"scan_running"`
	// Repaired is what the latest scrub repaired so far, in bytes. ZFS prints it with three digits.
	Repaired uint64 `json:"repaired"`
	// ScanErrors is the number of errors of the latest finished scrub or resilver that could not be repaired.
	ScanErrors uint64 `json:"scan_errors"`
	// Devices are the rows of the table, in its order: the pool itself, then its vdevs.
	Devices []Device `json:"devices"`
	// Errors is the "errors:" line.
	Errors string `json:"errors"`
	// Damaged are the damaged files as ZFS names them: /tank/file, or tank@snapshot:/file, or tank/home:<0x2> for an
	// object without a name, or <metadata>:<0x0>.
	Damaged []string `json:"damaged"`
}

// Device is a row of the table in zpool status.
type Device struct {
	Name string `json:"name"`
	// Class is the section that the row stands in: empty for normal vdevs, else special, dedup, logs, cache or spares.
	Class string `json:"class"`
	// Depth is 0 for the pool and for what stands at the left of a section.
	Depth int `json:"depth"`
	// Leaf is set for devices, not for the pool or groups.
	Leaf bool `json:"leaf"`
	// State is ONLINE and so on; AVAIL or INUSE for spares.
	State string `json:"state"`
	// Read, Write and Checksum count errors since the pool was imported or cleared. Spares have none.
	Read     uint64 `json:"read"`
	Write    uint64 `json:"write"`
	Checksum uint64 `json:"checksum"`
	// Note is what follows the counters, like "was /dev/vdb1" or "(resilvering)".
	Note string `json:"note"`
}

// Disk is the name of the machine's data disk that a device is on, or empty.
func (d Device) Disk() string {
	disk, found := strings.CutPrefix(d.Name, virtio)
	if !d.Leaf || !found {
		return ""
	}
	return disk
}

// Healthy says that ZFS knows of no damage: the pool is ONLINE, no device has counted an error, and no file is damaged.
func (s Pool) Healthy() bool {
	for _, d := range s.Devices {
		if d.Read+d.Write+d.Checksum > 0 {
			return false
		}
	}
	return s.State == "ONLINE" && s.Errors == noErrors
}

// Leaves are the devices of all classes.
func (s Pool) Leaves() []Device {
	var leaves []Device
	for _, d := range s.Devices {
		if d.Leaf {
			leaves = append(leaves, d)
		}
	}
	return leaves
}

const (
	// virtio stands before the serial number of a disk in the name of its link.
	virtio        = "virtio-"
	noErrors      = "No known data errors"
	damagedIndent = "        " // before a damaged file, cmd/zpool/zpool_main.c, print_error_log
)

// section matches the first line of a part, such as " state: ONLINE". What belongs to it starts with a tab.
var section = regexp.MustCompile(`^ *([a-z]+):(?: (.*))?$`)

// Parse reads the output of zpool status -vp for one pool.
func Parse(text string) (Pool, error) {
	var (
		s     Pool
		parts = map[string][]string{}
		part  string
	)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := section.FindStringSubmatch(line); m != nil && part != "errors" {
			part = m[1]
			line = m[2]
			if part == "pool" && len(parts["pool"]) > 0 {
				return Pool{}, fmt.Errorf("more than one pool in %q", text)
			}
		}
		if file, found := strings.CutPrefix(line, damagedIndent); found && part == "errors" {
			s.Damaged = append(s.Damaged, file)
			continue
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		if last := len(s.Damaged) - 1; last >= 0 {
			s.Damaged[last] += "\n" + line // a name with a newline in it
		} else {
			parts[part] = append(parts[part], line)
		}
	}
	s.Name, s.State = join(parts["pool"], " "), join(parts["state"], " ")
	s.Notice, s.Errors = join(parts["status"], " "), join(parts["errors"], " ")
	if s.Name == "" || s.State == "" || s.Errors == "" {
		return Pool{}, fmt.Errorf("no pool, state or errors in %q", text)
	}
	if err := s.parseScan(join(parts["scan"], "\n")); err != nil {
		return Pool{}, err
	}
	if err := s.parseDevices(parts["config"]); err != nil {
		return Pool{}, err
	}
	return s, nil
}

// join makes one text of the lines of a part.
func join(lines []string, separator string) string {
	trimmed := make([]string, len(lines))
	for i, line := range lines {
		trimmed[i] = strings.TrimSpace(line)
	}
	return strings.Join(trimmed, separator)
}

var (
	repaired   = regexp.MustCompile(`(?m)scrub repaired (\S+) in|^(\S+) repaired,`)
	scanErrors = regexp.MustCompile(`with (\d+) errors`)
)

func (s *Pool) parseScan(text string) error {
	s.Scan = text
	s.ScanRunning = strings.Contains(text, " in progress since ")
	if m := repaired.FindStringSubmatch(text); m != nil {
		n, err := parseBytes(m[1] + m[2])
		if err != nil {
			return fmt.Errorf("repaired bytes in %q: %w", text, err)
		}
		s.Repaired = n
	}
	if m := scanErrors.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			return fmt.Errorf("errors in %q: %w", text, err)
		}
		s.ScanErrors = n
	}
	return nil
}

// parseBytes reads what zfs_nicebytes prints, like 0B, 512B or 1.25M.
func parseBytes(text string) (uint64, error) {
	digits := strings.TrimRight(text, "BKMGTPE")
	value, err := strconv.ParseFloat(digits, 64)
	if err != nil || value < 0 {
		return 0, fmt.Errorf("%q is no number of bytes", text)
	}
	unit := strings.TrimSuffix(text[len(digits):], "B")
	exponent := strings.Index("KMGTPE", unit) + 1
	if unit == "" {
		exponent = 0
	}
	if exponent == 0 && unit != "" || len(unit) > 1 {
		return 0, fmt.Errorf("%q has an unknown unit", text)
	}
	return uint64(math.Round(math.Ldexp(value, 10*exponent))), nil
}

// parseDevices reads the table. Its columns are found by the heading, as a name may contain spaces.
func (s *Pool) parseDevices(lines []string) error {
	if len(lines) == 0 {
		return nil // a pool whose configuration cannot be read has no table
	}
	width := strings.Index(lines[0], "STATE")
	if width < 0 {
		return fmt.Errorf("no heading in the device table: %q", lines[0])
	}
	class := ""
	for _, line := range lines[1:] {
		if len(line) < width { // the heading of a section stands alone
			class = strings.TrimSpace(line)
			continue
		}
		name := strings.TrimPrefix(line[:width], "\t")
		fields := strings.Fields(line[width:])
		if len(fields) == 0 {
			class = strings.TrimSpace(name)
			continue
		}
		indent := len(name) - len(strings.TrimLeft(name, " "))
		d := Device{Name: strings.TrimSpace(name), Class: class, Depth: indent / 2, State: fields[0]}
		rest := fields[1:]
		if class != "spares" && len(rest) >= 3 {
			for i, counter := range []*uint64{&d.Read, &d.Write, &d.Checksum} {
				n, err := strconv.ParseUint(rest[i], 10, 64)
				if err != nil {
					return fmt.Errorf("counters in %q: %w", line, err)
				}
				*counter = n
			}
			rest = rest[3:]
		}
		d.Note = strings.Join(rest, " ")
		s.Devices = append(s.Devices, d)
	}
	for i := range s.Devices {
		d := &s.Devices[i]
		last := i == len(s.Devices)-1 || s.Devices[i+1].Depth <= d.Depth || s.Devices[i+1].Class != d.Class
		d.Leaf = last && (d.Depth > 0)
	}
	return nil
}
