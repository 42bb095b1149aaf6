package local

import "context"

// AskAs is Ask with the password of another.
func (s *Services) AskAs(ctx context.Context, p *Process, other *Services) error {
	_, err := request(ctx, p.Addr, secretUser{s.tenant.User, other.tenant.Password}, "x", "")
	return err
}
