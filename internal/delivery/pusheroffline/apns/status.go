package apns

import (
	"net/http"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

const badDeviceToken = "BadDeviceToken"

// reasons holds those that their status alone does not tell.
var reasons = map[string]vendorapi.Class{
	"Unregistered":                vendorapi.TokenDead,
	"ExpiredToken":                vendorapi.TokenDead,
	badDeviceToken:                vendorapi.TokenDead,
	"DeviceTokenNotForTopic":      vendorapi.TokenDead,
	"ExpiredProviderToken":        vendorapi.AuthExpired,
	"InvalidProviderToken":        vendorapi.Misconfigured,
	"MissingProviderToken":        vendorapi.Misconfigured,
	"BadCertificate":              vendorapi.Misconfigured,
	"BadCertificateEnvironment":   vendorapi.Misconfigured,
	"Forbidden":                   vendorapi.Misconfigured,
	"TopicDisallowed":             vendorapi.Misconfigured,
	"MissingTopic":                vendorapi.Misconfigured,
	"BadTopic":                    vendorapi.Misconfigured,
	"TooManyRequests":             vendorapi.Throttled,
	"TooManyProviderTokenUpdates": vendorapi.Throttled,
	"InternalServerError":         vendorapi.Transient,
	"ServiceUnavailable":          vendorapi.Transient,
	"Shutdown":                    vendorapi.Transient,
	"IdleTimeout":                 vendorapi.Transient,
	"PayloadTooLarge":             vendorapi.Rejected,
	"BadCollapseId":               vendorapi.Rejected,
	"BadExpirationDate":           vendorapi.Rejected,
	"BadMessageId":                vendorapi.Rejected,
	"BadPriority":                 vendorapi.Rejected,
	"DuplicateHeaders":            vendorapi.Rejected,
	"InvalidPushType":             vendorapi.Rejected,
	"PayloadEmpty":                vendorapi.Rejected,
	"MissingDeviceToken":          vendorapi.Rejected,
	"BadPath":                     vendorapi.Rejected,
	"MethodNotAllowed":            vendorapi.Rejected,
}

// classify maps Apple's answer. Apple adds reasons from time to time; one that is not known goes by its status.
func classify(status int, reason string) vendorapi.Class {
	if c, ok := reasons[reason]; ok {
		return c
	}
	switch {
	case status == http.StatusGone:
		return vendorapi.TokenDead
	case status == http.StatusTooManyRequests:
		return vendorapi.Throttled
	case status >= 500, status < 300: // a success that is not 200 is some proxy's
		return vendorapi.Transient
	case status == http.StatusBadRequest, status == http.StatusNotFound, status == http.StatusMethodNotAllowed,
		status == http.StatusRequestEntityTooLarge:
		return vendorapi.Rejected
	}
	return vendorapi.Misconfigured // 403 and what Apple does not send: redirects, 401, 407
}
