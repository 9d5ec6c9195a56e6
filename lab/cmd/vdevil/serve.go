package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/serve"
	"github.com/vdevil/vdevil/lab/store"
)

func (a *app) serveCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Show campaigns in a browser, as they go on",
		Long: `Serve shows what is stored as pages that keep themselves up to date: all campaigns, and of each the verdicts so far, what runs now
with the last lines of its console, and the whole report. It prints the address, reads only, and ends with Ctrl-C. By default this
computer alone can ask; with another address a browser needs the token that is printed with it, and everything goes over the network
as it is: ssh -L is safer.`,
		Example: `  vdevil serve
  vdevil serve --listen 127.0.0.1:8080
  vdevil serve --listen 0.0.0.0:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.stored(cmd.Context(), func(s *store.Store) error { return a.serve(cmd.Context(), s, listen) })
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`ADDRESS` and port to answer on; port 0 is any that is free")
	return cmd
}

func (a *app) serve(ctx context.Context, s *store.Store, listen string) error {
	if _, _, err := net.SplitHostPort(listen); err != nil {
		return usage(fmt.Errorf("--listen: %w; write ADDRESS:PORT, such as 127.0.0.1:8080", err))
	}
	dirs, err := host.DefaultDirs()
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer l.Close() //nolint:errcheck // the server has closed it
	o := serve.Options{Store: s, Page: func(ctx context.Context, c store.Campaign, past bool) (page.Page, error) {
		return pageOf(ctx, dirs, s, c, past)
	}}
	address := fmt.Sprintf("http://%s/", l.Addr())
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		o.Token = rand.Text()
		address += "?token=" + o.Token
		a.say("others can reach this address; who has the token sees everything, and so does who listens on the network\n")
	}
	server, err := serve.New(ctx, o)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.out, address); err != nil {
		return errors.Join(err, server.Close())
	}
	return errors.Join(server.Serve(ctx, l), server.Close())
}

// pageOf is what one campaign says so far, with past beside what was run before it.
func pageOf(ctx context.Context, dirs host.Dirs, s *store.Store, c store.Campaign, past bool) (page.Page, error) {
	all := []store.Campaign{c}
	var compared report.Comparison
	if past {
		runs, err := lab.Past(ctx, s, all)
		if err != nil {
			return page.Page{}, err
		}
		if compared, err = lab.Compared(ctx, s, runs, nil); err != nil {
			return page.Page{}, err
		}
	}
	return lab.Page(ctx, dirs, s, all, compared)
}
