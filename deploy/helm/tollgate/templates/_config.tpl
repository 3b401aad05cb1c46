{{/* gateway.yaml: what the operator wrote, and the chart's own sections where he wrote none. */}}
{{- define "tollgate.config" -}}
{{- if not (default dict .Values.config).routes }}
{{- fail "config has no `routes`: give the chart a gateway.yaml under `config` (deploy/helm/tollgate/ci has examples)" }}
{{- end }}
{{- $config := dict
      "version" 1
      "admin" (dict "address" "0.0.0.0:9901" "token" (dict "file" "/etc/tollgate/secrets/admin-token"))
      "store" (dict "embedded" (dict "path" "/var/lib/tollgate/state.redb"))
      "drain" (dict "delay" "5s" "timeout" "25s") }}
{{- if not .Values.config.listeners }}
{{- $config = set $config "listen" "0.0.0.0:8402" }}
{{- end }}
{{- range $key, $value := .Values.config }}
{{- $config = set $config $key $value }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* The listeners as a list of { name, port }, as JSON. */}}
{{- define "tollgate.listeners" -}}
{{- $config := fromYaml (include "tollgate.config" .) }}
{{- $listeners := list }}
{{- if $config.listen }}
{{- $listeners = append $listeners (dict "name" "http" "address" $config.listen) }}
{{- end }}
{{- range $listener := $config.listeners }}
{{- if eq $listener.name "admin" }}
{{- fail "a listener is called `admin`, as the operator's port is: give it another name" }}
{{- end }}
{{- $listeners = append $listeners (dict "name" $listener.name "address" $listener.address) }}
{{- end }}
{{- $ports := list }}
{{- range $listener := $listeners }}
{{- include "tollgate.refuseLoopback" (dict "what" (printf "the listener `%s`" $listener.name) "address" $listener.address) }}
{{- $ports = append $ports (dict "name" $listener.name "port" (include "tollgate.port" $listener.address | int)) }}
{{- end }}
{{- toJson (dict "ports" $ports) }}
{{- end }}

{{- define "tollgate.port" -}}
{{- regexFind "[0-9]+$" (toString .) }}
{{- end }}

{{- define "tollgate.adminPort" -}}
{{- $config := fromYaml (include "tollgate.config" .) }}
{{- include "tollgate.port" $config.admin.address }}
{{- end }}

{{- define "tollgate.refuseLoopback" -}}
{{- if or (hasPrefix "127." .address) (hasPrefix "[::1]" .address) (hasPrefix "localhost" .address) }}
{{- fail (printf "%s is at `%s`, where nothing outside the pod reaches it: write `0.0.0.0:%s`" .what .address (include "tollgate.port" .address)) }}
{{- end }}
{{- end }}

{{/* Whether each pod has a volume: "true", or nothing. */}}
{{- define "tollgate.hasVolume" -}}
{{- $config := fromYaml (include "tollgate.config" .) }}
{{- if or $config.store.embedded (eq (dig "redis" "durability" "" $config.store) "redis-ha") }}true{{ end }}
{{- end }}

{{- define "tollgate.kind" -}}
{{- if include "tollgate.hasVolume" . }}StatefulSet{{ else }}Deployment{{ end }}
{{- end }}

{{- define "tollgate.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int }}
{{- $unit := regexFind "[a-z]+$" . }}
{{- if eq $unit "ms" }}{{ div (add $number 999) 1000 }}
{{- else if eq $unit "s" }}{{ $number }}
{{- else if eq $unit "m" }}{{ mul $number 60 }}
{{- else if eq $unit "h" }}{{ mul $number 3600 }}
{{- else }}{{ fail (printf "`%s` is no duration: write `25s`" .) }}
{{- end }}
{{- end }}

{{/* How long a pod may take to end: longer than the gateway does. */}}
{{- define "tollgate.gracePeriod" -}}
{{- $config := fromYaml (include "tollgate.config" .) }}
{{- $delay := include "tollgate.seconds" (toString (default "0s" $config.drain.delay)) | int }}
{{- $timeout := include "tollgate.seconds" (toString (default "25s" $config.drain.timeout)) | int }}
{{- $needed := add $delay $timeout 90 | int }}
{{- $given := .Values.terminationGracePeriodSeconds | int }}
{{- if and $given (le $given $needed) }}
{{- fail (printf "terminationGracePeriodSeconds is %d, and the gateway may take %d s to end (drain.delay %d s, drain.timeout %d s, 90 s for settlements): leave it out, or write more" $given $needed $delay $timeout) }}
{{- end }}
{{- default (add $needed 10) $given }}
{{- end }}

{{/* What would come up and lose money, or not come up. */}}
{{- define "tollgate.refusals" -}}
{{- $config := fromYaml (include "tollgate.config" .) }}
{{- if regexMatch "\\bS[A-Z2-7]{55}\\b" (toYaml $config) }}
{{- fail "config has a secret key of Stellar in it, and a ConfigMap is no place for one: put it into existingSecret, and write `{ file: /etc/tollgate/secrets/NAME }`" }}
{{- end }}
{{- if and $config.listen $config.listeners }}
{{- fail "config has `listen` and `listeners`: keep one of the two" }}
{{- end }}
{{- include "tollgate.refuseLoopback" (dict "what" "the admin port" "address" $config.admin.address) }}
{{- with $config.store.embedded }}
{{- if $.Values.autoscaling.enabled }}
{{- fail "autoscaling is enabled, and config.store is embedded, which is a file of one process: use config.store.redis" }}
{{- end }}
{{- if gt ($.Values.replicas | int) 1 }}
{{- fail (printf "replicas is %d, and config.store is embedded, which is a file of one process: use config.store.redis, or replicas: 1" ($.Values.replicas | int)) }}
{{- end }}
{{- if not (hasPrefix "/var/lib/tollgate/" .path) }}
{{- fail (printf "config.store.embedded.path is `%s`, which ends with the pod, and with it what was paid: write `/var/lib/tollgate/state.redb`, on the volume" .path) }}
{{- end }}
{{- end }}
{{- with dig "redis" "journal" "" $config.store }}
{{- if not (hasPrefix "/var/lib/tollgate/" .) }}
{{- fail (printf "config.store.redis.journal is `%s`, which ends with the pod: write `/var/lib/tollgate/journal`, on the volume" .) }}
{{- end }}
{{- end }}
{{- if and (contains "/etc/tollgate/secrets/" (toYaml $config)) (not .Values.existingSecret) }}
{{- fail "config names files in /etc/tollgate/secrets, and existingSecret is empty: name a Secret with `admin-token` and the other keys" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.adminFrom) }}
{{- fail "serviceMonitor is enabled, and networkPolicy.adminFrom lets nobody reach the admin port: name Prometheus there" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.serviceMonitor.tokenKey (not .Values.existingSecret) }}
{{- fail "serviceMonitor.tokenKey is a key of existingSecret, which is empty" }}
{{- end }}
{{- end }}
