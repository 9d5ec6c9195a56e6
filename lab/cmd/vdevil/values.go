package main

import (
	"errors"
	"fmt"
	"regexp"
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

// word is the value of --name: vdevil show takes a path that begins with it.
type word string

func (w *word) Type() string   { return "NAME" }
func (w *word) String() string { return string(*w) }

func (w *word) Set(text string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`).MatchString(text) {
		return errors.New("write letters, digits, and . _ + - between them")
	}
	*w = word(text)
	return nil
}

// shard is the value of --shard.
type shard struct{ campaign.Shard }

func (s *shard) Type() string { return "I/N" }

func (s *shard) String() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Part, s.Of)
}

func (s *shard) Set(text string) error {
	part, of, found := strings.Cut(text, "/")
	i, err := strconv.Atoi(part)
	n, err2 := strconv.Atoi(of)
	if !found || err != nil || err2 != nil || i < 1 || i > n {
		return errors.New("write which part of how many, such as 2/8")
	}
	s.Shard = campaign.Shard{Part: i, Of: n}
	return nil
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
