package main

import (
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// The exit statuses, see the help of the root command.
const (
	held    = 0
	notHeld = 1
	misused = 2
	trouble = 3
)

// usageError is a mistake in what the user typed or in a file of his.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage marks an error as the user's; nil stays nil.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// notHeldError says which expectations did not hold. It is a result, not trouble.
type notHeldError struct{ text string }

func (e *notHeldError) Error() string { return e.text }

// The exit statuses of run --bisect, as git bisect run wants them.
const (
	gitGood  = 0
	gitBad   = 1
	gitSkip  = 125
	gitAbort = 128
)

// gitError has the exit status that git bisect run wants.
type gitError struct {
	code int
	text string
}

func (e *gitError) Error() string { return e.text }

// forGit turns what a run of one scenario on one version says into a status: bad reproduces, good does not, and what cannot be said,
// or cannot be compiled, is to be skipped. The lab's own trouble ends the bisection.
func forGit(results []verdict.Summary, err error) error {
	var built *images.BuildError
	switch {
	case errors.As(err, &built) && built.Remedy == "", errors.Is(err, images.ErrNoKernel):
		return &gitError{gitSkip, err.Error()}
	case err != nil:
		return &gitError{gitAbort, err.Error()}
	case len(results) != 1:
		return &gitError{gitSkip, "the scenario cannot be asked of this version"}
	}
	r := results[0]
	text := fmt.Sprintf("%s: %s", title(r.Scenario, r.OpenZFS), r.Verdict)
	switch r.Verdict {
	case scenarios.Reproduces:
		return &gitError{gitBad, text}
	case scenarios.DoesNotReproduce:
		return &gitError{gitGood, text}
	}
	return &gitError{gitSkip, text}
}

// status is the exit status for an error of a command that has run.
func status(err error) int {
	var (
		git    *gitError
		wrong  *usageError
		file   *scenarios.Error
		closed *unreadableError
		came   *notHeldError
		named  *lab.VersionError
	)
	switch {
	case err == nil:
		return held
	case errors.As(err, &git):
		return git.code
	case errors.As(err, &wrong), errors.As(err, &file), errors.As(err, &closed), errors.As(err, &named):
		return misused
	case errors.As(err, &came):
		return notHeld
	}
	return trouble
}
