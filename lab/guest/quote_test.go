package guest

import "testing"

func TestQuote(t *testing.T) {
	for want, words := range map[string][]string{
		"":                       nil,
		"''":                     {""},
		"zfs destroy tank/a@s-1": {"zfs", "destroy", "tank/a@s-1"},
		`'a b' '$x' '~' '*' '#'`: {"a b", "$x", "~", "*", "#"},
		`'it'\''s'`:              {"it's"},
		"'a\nb' 'é'":             {"a\nb", "é"},
	} {
		if got := quote(words...); got != want {
			t.Errorf("%q: got %s, want %s", words, got, want)
		}
	}
}
