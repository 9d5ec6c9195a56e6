package guest

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Session opens a session for a person, who may stay as long as he likes: the context is for the opening alone.
func (g *Guest) Session(ctx context.Context) (*ssh.Session, error) {
	if g.line != nil {
		return nil, errors.New("a guest that counts its time has no network, and so no session: run a scenario in it, or leave out clock")
	}
	s, err := await(ctx, g.client.NewSession, closeSession)
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	return s, nil
}
