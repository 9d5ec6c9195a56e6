package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/campaign"
)

// choice is the value of a flag that takes one of a few words.
type choice struct {
	value string
	words []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.words, "|") }

func (c *choice) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return fmt.Errorf("write %s", either(c.words))
	}
	c.value = word
	return nil
}

// either lists words to choose from.
func either(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// pick is the value of --only.
type pick struct{ *campaign.Pick }

func (p *pick) Type() string { return "ARM/N" }

func (p *pick) String() string {
	if p.Pick == nil {
		return ""
	}
	return fmt.Sprintf("%s/%d", p.Arm, p.Number)
}

func (p *pick) Set(text string) error {
	arm, number, found := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if !found || arm == "" || err != nil || n < 1 {
		return fmt.Errorf("write the name of an arm and the number of a trial, such as no-fault/3")
	}
	p.Pick = &campaign.Pick{Arm: arm, Number: n}
	return nil
}
