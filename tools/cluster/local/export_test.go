package local

import "context"

// Ask sends a request to JetStream or another service as the user that settings name.
func (s *Services) Ask(ctx context.Context, p *Process, subject, body string) ([]byte, error) {
	return request(ctx, p.Addr, s.tenant.secretUser, subject, body)
}

// AskAs is Ask with the password of another.
func (s *Services) AskAs(ctx context.Context, p *Process, other *Services) error {
	_, err := request(ctx, p.Addr, secretUser{s.tenant.User, other.tenant.Password}, "x", "")
	return err
}
