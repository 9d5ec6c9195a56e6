package main

import (
	"errors"

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

// status is the exit status for an error of a command that has run.
func status(err error) int {
	var (
		wrong  *usageError
		file   *scenarios.Error
		closed *unreadableError
		came   *notHeldError
	)
	switch {
	case err == nil:
		return held
	case errors.As(err, &wrong), errors.As(err, &file), errors.As(err, &closed):
		return misused
	case errors.As(err, &came):
		return notHeld
	}
	return trouble
}
