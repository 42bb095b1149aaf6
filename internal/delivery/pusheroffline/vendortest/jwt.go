package vendortest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

type jwtHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

type jwtClaims struct {
	Iss   string `json:"iss"`
	Scope string `json:"scope"`
	Aud   string `json:"aud"`
	Iat   int64  `json:"iat"`
	Exp   int64  `json:"exp"`
}

// verify checks the signature of a compact JWT, by hand, and returns what it says.
func verify(jwt string, key crypto.PublicKey) (h jwtHeader, c jwtClaims, err error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return h, c, errors.New("is no JWT")
	}
	if err := decode(parts[0], &h); err != nil {
		return h, c, fmt.Errorf("header: %w", err)
	}
	if err := decode(parts[1], &c); err != nil {
		return h, c, fmt.Errorf("claims: %w", err)
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return h, c, fmt.Errorf("signature: %w", err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		good := h.Alg == "ES256" && len(sig) == 64 &&
			ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		if !good {
			return h, c, errors.New("signature is not ES256 by the key")
		}
	case *rsa.PublicKey:
		if h.Alg != "RS256" || rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) != nil {
			return h, c, errors.New("signature is not RS256 by the key")
		}
	default:
		return h, c, fmt.Errorf("key of type %T", key)
	}
	return h, c, nil
}

func decode(part string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
