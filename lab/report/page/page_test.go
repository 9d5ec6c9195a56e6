package page

import (
	"bytes"
	"os"
	"testing"
)

func written(t testing.TB, p Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTmp(t *testing.T) {
	os.WriteFile("/tmp/w/full.html", []byte(written(t, full())), 0o644)
	os.WriteFile("/tmp/w/hostile.html", []byte(written(t, sample{scenarios: 2, versions: 2, trials: 10, hostile: true}.page())), 0o644)
}
