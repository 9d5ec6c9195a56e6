package images

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	k, err := openKeys(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range []keyPair{k.login, k.host} {
		st, err := os.Stat(pair.Path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", pair.Path, st, err)
		}
		signer, err := ssh.ParsePrivateKey(pair.Private)
		if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
			t.Errorf("%s: %v, want an ed25519 key", pair.Path, err)
		}
		public, err := os.ReadFile(pair.Path + ".pub")
		if err != nil || string(public) != string(pair.Public) {
			t.Errorf("%s.pub: %q, %v", pair.Path, public, err)
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey(public); err != nil {
			t.Errorf("%s.pub: %v", pair.Path, err)
		}
	}
	if string(k.login.Public) == string(k.host.Public) {
		t.Error("one key for both purposes")
	}
	again, err := openKeys(t.Context(), dir)
	if err != nil || string(again.login.Private) != string(k.login.Private) || string(again.host.Private) != string(k.host.Private) {
		t.Errorf("opened again: other keys, %v", err)
	}
	if err := os.WriteFile(k.login.Path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeys(t.Context(), dir); err == nil || !strings.Contains(err.Error(), k.login.Path) {
		t.Errorf("a damaged key: %v, want an error that names it", err)
	}
}

func TestRootFS(t *testing.T) {
	k, err := openKeys(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "rootfs.tar")
	if err := writeRootFS(name, k); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, _ := f.Stat(); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: others can read the host key", st.Mode())
	}
	modes, texts := map[string]int64{}, map[string]string{}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r)
		modes[h.Name], texts[h.Name] = h.Mode, string(text)
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
	}
	for name, mode := range map[string]int64{
		"root/.ssh/":                   0o700,
		"root/.ssh/authorized_keys":    0o600,
		"etc/ssh/ssh_host_ed25519_key": 0o600,
		"etc/ssh/sshd_config":          0o644,
		"usr/lib/vdevil/boot":          0o755,
		"etc/inittab":                  0o644,
	} {
		if modes[name] != mode {
			t.Errorf("%s has mode %o, want %o", name, modes[name], mode)
		}
	}
	if texts["root/.ssh/authorized_keys"] != string(k.login.Public) || texts["etc/ssh/ssh_host_ed25519_key"] != string(k.host.Private) {
		t.Error("the keys are not where they belong")
	}
}
