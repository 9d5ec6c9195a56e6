package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/campaign"
)

// TestServe asks at the address that is printed, with what is printed of it and without, and interrupts.
func TestServe(t *testing.T) {
	remember(t, own(t), "tonight", 3, campaign.Shard{})
	for listen, open := range map[string]bool{"127.0.0.1:0": true, "0.0.0.0:0": false} {
		t.Run(listen, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r, w := io.Pipe()
			var complaints bytes.Buffer
			ended := make(chan int)
			go func() {
				ended <- (&app{in: strings.NewReader(""), out: w, err: &complaints}).main(ctx, []string{"serve", "--listen", listen})
			}()
			line, err := bufio.NewReader(r).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			address := strings.TrimSpace(line)
			bare, _, token := strings.Cut(address, "?token=")
			if token == open {
				t.Errorf("serve --listen %s printed %s", listen, address)
			}
			for address, want := range map[string]int{address: http.StatusOK, bare: map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[open]} {
				jar, err := cookiejar.New(nil)
				if err != nil {
					t.Fatal(err)
				}
				client := &http.Client{Jar: jar}
				answer, err := client.Get(strings.Replace(address, "[::]", "127.0.0.1", 1))
				if err != nil {
					t.Fatal(err)
				}
				page, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != want || strings.Contains(string(page), "tonight") != (want == http.StatusOK) {
					t.Errorf("%s: %d, %v\n%s", address, answer.StatusCode, err, page)
				}
			}
			cancel()
			if code := <-ended; code != held {
				t.Errorf("status %d: %s", code, complaints.String())
			}
		})
	}
	for listen, says := range map[string]string{"8080": "write ADDRESS:PORT", "127.0.0.1:x": "--listen", "192.0.2.1:0": "--listen"} {
		if code, _, err := command(t, "serve", "--listen", listen); code == held || !strings.Contains(err, says) {
			t.Errorf("%s: status %d, %s", listen, code, err)
		}
	}
}
