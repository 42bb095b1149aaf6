{{/* Labels that select a target's pods; call with (dict "root" $ "target" name). */}}
{{- define "oceanchat.selector" -}}
app.kubernetes.io/name: oceanchat
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .target }}
{{- end }}

{{- define "oceanchat.common" -}}
app.kubernetes.io/name: oceanchat
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "oceanchat.labels" -}}
{{ include "oceanchat.common" .root }}
app.kubernetes.io/component: {{ .target }}
{{- end }}

{{- define "oceanchat.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary .Values.fullname "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What a target is plugged into besides NATS and calls, as in internal/app. */}}
{{- define "oceanchat.uses" -}}
api-gateway: [redis]
ws-gateway: [redis]
router: [redis]
auth: [mongo, redis]
user: [mongo, redis]
group: [mongo, redis]
message: [mongo]
orchestrator: []
pusher-realtime: []
pusher-offline: [mongo]
presence: [redis]
query: [mongo]
persistence: [mongo]
{{- end }}

{{/* The values of a target: its own over the defaults. */}}
{{- define "oceanchat.target" -}}
{{- $own := index .root.Values.targets .target | default dict -}}
{{ mergeOverwrite (deepCopy .root.Values.defaults) $own | toYaml }}
{{- end }}

{{/* 85 % of a quantity of memory such as 4Gi, as Go reads it. */}}
{{- define "oceanchat.goMemory" -}}
{{- $text := ternary . (printf "%.0f" (float64 .)) (kindIs "string" .) -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $factors := dict "_" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $factor := index $factors ($unit | default "_") | required (printf "resources.limits.memory: %s is no quantity like 512Mi or 4Gi" $text) -}}
{{- printf "%dMiB" (int64 (divf (mulf (float64 (trimSuffix $unit $text)) $factor 0.85) 1048576)) -}}
{{- end }}

{{/* The settings file of all targets. */}}
{{- define "oceanchat.settings" -}}
{{- $v := .Values -}}
{{- $_ := required "nats.urls is missing" (first $v.nats.urls) -}}
{{- $_ := required "redis.addrs is missing" (first $v.redis.addrs) -}}
{{- $set := dict
  "ops" (dict "addr" ":9090")
  "http" (dict "addr" ":8080")
  "ws_gateway" (dict "addr" ":8081" "drain_spread" (printf "%ds" (int (div (int $v.drain.timeoutSeconds) 2))))
  "trusted_proxies" $v.ingress.trustedProxies
  "drain" (dict "notice" (printf "%ds" (int $v.drain.noticeSeconds)) "timeout" (printf "%ds" (int $v.drain.timeoutSeconds)))
  "grpc" (dict "addr" ":7070" "peers" (printf "dns:///%s-{target}:7070" $v.fullname))
  "nats" (dict "urls" $v.nats.urls "replicas" (int $v.nats.replicas) "tls" (dict "enabled" $v.nats.tls.enabled))
  "redis" (dict "addrs" $v.redis.addrs "cluster" $v.redis.cluster "tls" (dict "enabled" $v.redis.tls.enabled))
-}}
{{- if $v.nats.tls.caSecret }}{{ $_ := set $set.nats.tls "ca" "/etc/oceanchat/nats/ca.crt" }}{{ end }}
{{- if $v.redis.tls.caSecret }}{{ $_ := set $set.redis.tls "ca" "/etc/oceanchat/redis/ca.crt" }}{{ end }}
{{- if $v.redis.username }}{{ $_ := set $set.redis "username" $v.redis.username }}{{ end }}
{{- if $v.grpc.tlsSecret }}
{{- $_ := set $set.grpc "tls" (dict "cert" "/etc/oceanchat/grpc/tls.crt" "key" "/etc/oceanchat/grpc/tls.key" "ca" "/etc/oceanchat/grpc/ca.crt") }}
{{- end }}
{{- mergeOverwrite $set (deepCopy $v.settings) | toYaml }}
{{- end }}
