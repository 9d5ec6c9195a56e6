package images

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/vdevil/vdevil/lab/host"
)

// keyPair is an ed25519 key as OpenSSH keeps it: the private key in Path, the public one in Path + ".pub".
type keyPair struct {
	Path    string
	Private []byte // OpenSSH's PEM form
	Public  []byte // one line in the form of authorized_keys
}

// keys are the two that every image of a cache directory shares: the guests' host key, so that it is known before a
// guest has booted, and the login key.
type keys struct{ login, host keyPair }

// openKeys reads the keys in dir and makes those that do not exist.
func openKeys(ctx context.Context, dir string) (keys, error) {
	var k keys
	unlock, err := host.Lock(ctx, filepath.Join(dir, "lock"), nil)
	if err != nil {
		return k, fmt.Errorf("keys: %w", err)
	}
	defer unlock()
	if k.login, err = openKey(filepath.Join(dir, "login")); err != nil {
		return k, fmt.Errorf("login key: %w", err)
	}
	if k.host, err = openKey(filepath.Join(dir, "host")); err != nil {
		return k, fmt.Errorf("host key: %w", err)
	}
	return k, nil
}

func openKey(path string) (keyPair, error) {
	private, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if private, err = newKey(); err == nil {
			err = host.WriteFile(path, private, 0o600)
		}
	}
	if err != nil {
		return keyPair{}, err
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return keyPair{}, fmt.Errorf("%s: %w: remove it, and the images are built anew with another", path, err)
	}
	public := ssh.MarshalAuthorizedKey(signer.PublicKey())
	if old, err := os.ReadFile(path + ".pub"); err != nil || !bytes.Equal(old, public) {
		if err := host.WriteFile(path+".pub", public, 0o644); err != nil {
			return keyPair{}, err
		}
	}
	return keyPair{Path: path, Private: private, Public: public}, nil
}

func newKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "vdevil")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}
