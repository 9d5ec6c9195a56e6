package trial

import "strings"

// Image is one with its OpenZFS. ID is by content.
type Image struct {
	ID      string `json:"id"`
	OpenZFS string `json:"openzfs"`
}

// between stands between the two of a pair.
const between = ":"

// Then is the pair of an image, which a trial begins with, and the one of machines that come after a reboot.
func (i Image) Then(later Image) Image {
	return Image{i.ID + between + later.ID, i.OpenZFS + between + later.OpenZFS}
}

// Both are the two of a pair; one image alone is both.
func (i Image) Both() (first, later Image) {
	var pair bool
	first.ID, later.ID, pair = strings.Cut(i.ID, between)
	if !pair {
		return i, i
	}
	first.OpenZFS, later.OpenZFS, _ = strings.Cut(i.OpenZFS, between)
	return first, later
}
