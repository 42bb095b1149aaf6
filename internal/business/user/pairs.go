package user

import (
	"context"
	"fmt"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// pairs is the relations, with the answer for each direction of a pair in the cache. What depends on the target's
// settings is not in that answer but added to it: one user's new setting would otherwise have to drop the answers of
// everybody who ever looked.
type pairs struct {
	store  store.Relations
	cached *cached
}

// pairKey is for ids that hold no colon, which is all valid ones.
func pairKey(actor, target chat.UserID) string {
	return "user:pair:" + string(actor) + ":" + string(target)
}

// relation answers how actor stands to target, as far as it does not depend on settings.
func (p *pairs) relation(ctx context.Context, actor, target chat.UserID) (*userv1.GetRelationResponse, error) {
	r := &userv1.GetRelationResponse{}
	_, err := p.cached.get(ctx, pairKey(actor, target), r, func(ctx context.Context) (bool, error) {
		ab, ba, err := p.store.Get(ctx, actor, target)
		if err == nil {
			fillRelation(r, ab, ba)
		}
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("load relation of %s to %s: %w", actor, target, err)
	}
	return r, nil
}

func fillRelation(r *userv1.GetRelationResponse, ab, ba store.Relation) {
	r.Friends, r.Blocked, r.Blocks = ab.Friend, ba.Blocked, ab.Blocked
	for _, w := range ba.Withheld {
		r.Withheld = append(r.Withheld, &userv1.SeqRange{From: w.From, To: w.To})
	}
}

// update changes both sides of a pair and drops what was cached of it in both directions, also when nothing changed: an
// earlier attempt may have been cut off before its drop.
func (p *pairs) update(ctx context.Context, a, b chat.UserID, change func(ab, ba *store.Relation) error) (ab, ba store.Relation, err error) {
	ab, ba, err = p.store.Update(ctx, a, b, change)
	if dropped := p.cached.drop(ctx, pairKey(a, b), pairKey(b, a)); err == nil {
		err = dropped
	}
	return ab, ba, err
}
