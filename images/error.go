package images

import (
	"fmt"
	"regexp"
	"strings"
)

// BuildError is a build that failed, with the evidence.
type BuildError struct {
	What   string // image of OpenZFS 2.3.2
	Err    error
	Remedy string   // "" if the lab knows none
	Tail   []string // what the compiler says, or the last lines of the log
	Log    string   // the log's path
}

func (e *BuildError) Error() string {
	s := fmt.Sprintf("building the %s: %v", e.What, e.Err)
	if len(e.Tail) > 0 {
		s += fmt.Sprintf("\nthe log %s says:\n  %s", e.Log, strings.Join(e.Tail, "\n  "))
	}
	if e.Remedy != "" {
		s += "\n" + e.Remedy
	}
	return s
}

func (e *BuildError) Unwrap() error { return e.Err }

// tailLines is how much of the log an error shows.
const tailLines = 30

// remedies are what the log of a failed build may say and what to do then. The first that matches counts.
var remedies = []struct {
	says   *regexp.Regexp
	remedy string
}{
	{
		regexp.MustCompile(`@gone ?(.*)`),
		"The Debian suite no longer carries this version; it has: $1. " +
			"Choose another version, or name a mirror that keeps it with --mirror URL.",
	},
	{
		regexp.MustCompile(`(?i)no space left on device|disk quota exceeded|disk full`),
		"The disk is full: free space in " + workRoot + " and in the cache directory, or move the latter with XDG_CACHE_HOME.",
	},
	{
		regexp.MustCompile(`(?i)fatal error: killed|virtual memory exhausted|cannot allocate memory|out of memory`),
		"Memory ran out: a compiler takes up to 1 GiB for each CPU. Free some, or let the build have fewer CPUs with taskset.",
	},
	{
		regexp.MustCompile(`(?i)(could not resolve|temporary failure resolving|could not connect|unable to connect|cannot initiate the connection|` +
			`connection timed out|connection refused|network is unreachable|failed to fetch)`),
		"The Debian mirror cannot be reached: check the network and http_proxy, or name another mirror with --mirror URL. " +
			"What was downloaded is kept.",
	},
	{
		regexp.MustCompile(`NO_PUBKEY|is not signed|couldn't be verified`),
		"The packages' signature cannot be checked: install debian-archive-keyring.",
	},
	{
		regexp.MustCompile(`(?i)newuidmap|/etc/sub[ug]id|unshare\(\) failed|invalid idmap`),
		"Building as an ordinary user needs user namespaces, the package uidmap and ranges in /etc/subuid and /etc/subgid: " +
			"vdevil doctor says what is missing. As root it needs none of them.",
	},
}

func newBuildError(what, log string, err error) *BuildError {
	e := &BuildError{What: what, Err: err, Log: log, Tail: tail(log, tailLines)}
	text := err.Error() + "\n" + strings.Join(tail(log, 10*tailLines), "\n")
	for _, r := range remedies {
		if m := r.says.FindStringSubmatchIndex(text); m != nil {
			e.Remedy = string(r.says.ExpandString(nil, r.remedy, text, m))
			break
		}
	}
	return e
}
