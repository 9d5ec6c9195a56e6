package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"al.essio.dev/pkg/shellescape"
	"github.com/pkg/sftp"
)

// WriteFile makes or replaces a file. The data is in the guest's cache then, not on disk: see Sync.
func (g *Guest) WriteFile(ctx context.Context, path string, data []byte) error {
	if g.line != nil {
		_, err := g.run(ctx, "cat >"+shellescape.Quote(path), bytes.NewReader(data))
		return err
	}
	_, err := withSFTP(ctx, g, func(c *sftp.Client) (struct{}, error) {
		f, err := c.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
		if err != nil {
			return struct{}{}, err
		}
		_, err = f.Write(data)
		return struct{}{}, errors.Join(err, f.Close())
	})
	if err != nil {
		return fmt.Errorf("write guest file %s: %w", path, err)
	}
	return nil
}

// Bring makes or replaces files, which can be run then, in directories that are made if need be.
func (g *Guest) Bring(ctx context.Context, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if g.line != nil {
			quoted := shellescape.Quote(name)
			if _, err := g.run(ctx, fmt.Sprintf("mkdir -p %s && cat >%s && chmod 755 %[2]s", shellescape.Quote(path.Dir(name)), quoted), bytes.NewReader(files[name])); err != nil {
				return fmt.Errorf("bring %s: %w", name, err)
			}
			continue
		}
		_, err := withSFTP(ctx, g, func(c *sftp.Client) (struct{}, error) { return struct{}{}, c.MkdirAll(path.Dir(name)) })
		if err == nil {
			err = g.WriteFile(ctx, name, files[name])
		}
		if err == nil {
			_, err = withSFTP(ctx, g, func(c *sftp.Client) (struct{}, error) { return struct{}{}, c.Chmod(name, 0o755) })
		}
		if err != nil {
			return fmt.Errorf("bring %s: %w", name, err)
		}
	}
	return nil
}

// ReadFile reads a whole file. A file that does not exist is os.ErrNotExist.
func (g *Guest) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if g.line != nil {
		return g.Printed(ctx, "cat "+shellescape.Quote(path))
	}
	data, err := withSFTP(ctx, g, func(c *sftp.Client) ([]byte, error) {
		f, err := c.Open(path)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(f)
		return text, errors.Join(err, f.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("read guest file %s: %w", path, err)
	}
	return data, nil
}

// withSFTP calls do with the connection's sftp client, which the first caller makes. When ctx ends, do is left to itself:
// it ends with the connection at the latest.
func withSFTP[T any](ctx context.Context, g *Guest, do func(*sftp.Client) (T, error)) (T, error) {
	var none T
	g.sftpOnce.Do(func() {
		go func() {
			defer close(g.sftpReady)
			g.sftp, g.sftpErr = sftp.NewClient(g.client, sftp.UseConcurrentWrites(true))
		}()
	})
	select {
	case <-g.sftpReady:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	if g.sftpErr != nil {
		return none, evidence(g.machine, "start sftp", g.sftpErr)
	}
	result, err := await(ctx, func() (T, error) { return do(g.sftp) }, nil)
	switch {
	case errors.Is(err, sftp.ErrSSHFxConnectionLost):
		err = evidence(g.machine, "sftp", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		err = &fileError{err}
	}
	return result, err
}

// fileError is an answer of the guest's that package sftp gives as an error of package os and not as a StatusError.
type fileError struct{ err error }

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }
