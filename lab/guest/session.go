package guest

import (
	"context"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Session opens a session for a person, who may stay as long as he likes: the context is for the opening alone.
func (g *Guest) Session(ctx context.Context) (*ssh.Session, error) {
	s, err := await(ctx, g.client.NewSession, closeSession)
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	return s, nil
}
