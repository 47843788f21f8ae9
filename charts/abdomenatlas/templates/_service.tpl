{{/* What the five services have in common: their pods. They differ in the lines of "abdomenatlas.<component>.env". */}}

{{- define "abdomenatlas.deployment" -}}
{{- $values := index .root.Values .component -}}
apiVersion: apps/v1
kind: Deployment
{{ include "abdomenatlas.metadata" . }}
spec:
  replicas: {{ $values.replicas }}
  selector:
    matchLabels: {{- include "abdomenatlas.selector" . | nindent 6 }}
  {{- if include "abdomenatlas.disk" . }}
  # The volume has room for one pod.
  strategy:
    type: Recreate
  {{- else }}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  {{- end }}
  template:
    {{- include "abdomenatlas.podMetadata" . | nindent 4 }}
    spec: {{- include "abdomenatlas.podSpec" . | nindent 6 }}
{{- end -}}

{{/* "true" if the component keeps something on a volume of its own. */}}
{{- define "abdomenatlas.disk" -}}
{{- $values := index .root.Values .component -}}
{{- if or (eq (dig "database" "kind" "" $values) "sqlite") (eq (dig "objects" "kind" "" $values) "folder") }}true{{ end -}}
{{- end -}}

{{- define "abdomenatlas.podSpec" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ include "abdomenatlas.name" . }}
automountServiceAccountToken: {{ eq (include "abdomenatlas.callsKubernetes" .) "true" }}
# The pause before SIGTERM, what calls in flight may take, and what the process needs to end.
terminationGracePeriodSeconds: {{ add 5 $values.drainSeconds 15 }}
securityContext: {{- include "abdomenatlas.podSecurity" . | nindent 2 }}
{{- include "abdomenatlas.placement" . | nindent 0 }}
{{- include "abdomenatlas.spread" . | nindent 0 }}
containers:
  - name: {{ .component }}
    image: {{ include "abdomenatlas.image" (dict "root" .root "image" $values.image) }}
    imagePullPolicy: {{ .root.Values.global.imagePullPolicy }}
    args: [python, -m, services.{{ .component }}]
    securityContext: {{- include "abdomenatlas.containerSecurity" . | nindent 6 }}
    ports:
      {{- range keys (include "abdomenatlas.ports" . | fromYaml | dig .component dict) | sortAlpha }}
      - name: {{ . }}
        containerPort: {{ include "abdomenatlas.port" (merge (dict "port" .) $) }}
      {{- end }}
    env: {{- include "abdomenatlas.environment" . | nindent 6 }}
    {{- $health := include "abdomenatlas.port" (merge (dict "port" "health") .) }}
    {{- include "abdomenatlas.probes" (dict "probePort" $health "startSeconds" 300 "sickSeconds" 60) | nindent 4 }}
    {{- include "abdomenatlas.drain" . | nindent 4 }}
    resources: {{- toYaml $values.resources | nindent 6 }}
    volumeMounts: {{- include "abdomenatlas.mounts" . | nindent 6 }}
volumes: {{- include "abdomenatlas.volumes" . | nindent 2 }}
{{- end -}}

{{/* Environment of a service: what all have, then its own, then the settings given as values. */}}
{{- define "abdomenatlas.environment" -}}
{{- $values := index .root.Values .component -}}
{{- $prefix := printf "ATLAS_%s" (upper .component) -}}
- {name: {{ $prefix }}_HOST, value: "0.0.0.0"}
{{- range tuple "grpc" "mutual" "health" "metrics" }}
{{- $name := eq . "grpc" | ternary "PORT" (printf "%s_PORT" (upper .)) }}
- {name: {{ $prefix }}_{{ $name }}, value: {{ include "abdomenatlas.port" (merge (dict "port" .) $) | quote }}}
{{- end }}
- {name: {{ $prefix }}_DRAIN_SECONDS, value: {{ $values.drainSeconds | quote }}}
- {name: {{ $prefix }}_LOG_LEVEL, value: {{ $values.logLevel }}}
# What numba compiles is kept where the container may write; the root is read-only.
- {name: NUMBA_CACHE_DIR, value: /tmp/numba}
{{- include "abdomenatlas.accessEnvironment" . | nindent 0 }}
{{ include (printf "abdomenatlas.%s.env" .component) . }}
{{- range $name, $value := $values.settings }}
- {name: {{ $prefix }}_{{ upper $name }}, value: {{ include "abdomenatlas.text" $value | quote }}}
{{- end }}
{{- end -}}

{{/* Where a service finds another one. */}}
{{- define "abdomenatlas.peer" -}}
- {name: ATLAS_{{ upper .component }}_{{ upper .peer }}, value: {{ include "abdomenatlas.address" (dict "root" .root "component" .peer) | quote }}}
{{- end -}}

{{/* Certificates and tokens. */}}
{{- define "abdomenatlas.accessEnvironment" -}}
{{- $prefix := printf "ATLAS_%s" (upper .component) -}}
{{- $auth := .root.Values.auth -}}
{{- if .root.Values.insecure }}
- {name: {{ $prefix }}_INSECURE, value: "true"}
{{- end }}
{{- if ne .root.Values.tls.mode "none" }}
- {name: {{ $prefix }}_TLS_CERT, value: /etc/atlas/tls/tls.crt}
- {name: {{ $prefix }}_TLS_KEY, value: /etc/atlas/tls/tls.key}
- {name: {{ $prefix }}_TLS_CA, value: /etc/atlas/tls/ca.crt}
- {name: {{ $prefix }}_TLS_CLIENT_CA, value: /etc/atlas/tls/ca.crt}
- {name: {{ $prefix }}_SERVICE_SAN, value: {{ .root.Values.tls.serviceSan | quote }}}
{{- end }}
{{- with $auth.issuer }}
- {name: {{ $prefix }}_OIDC_ISSUER, value: {{ . | quote }}}
- {name: {{ $prefix }}_OIDC_AUDIENCE, value: {{ $auth.audience | quote }}}
- {name: {{ $prefix }}_OIDC_JWKS, value: {{ empty $auth.jwks.name | ternary $auth.jwksUrl (printf "/etc/atlas/jwks/%s" $auth.jwks.key) | quote }}}
- {name: {{ $prefix }}_OIDC_ROLE_CLAIM, value: {{ $auth.roleClaim | quote }}}
- {name: {{ $prefix }}_OIDC_SUBJECT_CLAIM, value: {{ $auth.subjectClaim | quote }}}
{{- end }}
{{- if $auth.caBundle.name }}
- {name: {{ $prefix }}_OIDC_CA, value: /etc/atlas/issuer-ca/{{ $auth.caBundle.key }}}
{{- end }}
{{- with .root.Values.metrics.token }}
{{- if .name }}
- {name: {{ $prefix }}_METRICS_TOKEN_FILE, value: /etc/atlas/metrics/{{ .key }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where the tables of storage and scheduler are. */}}
{{- define "abdomenatlas.databaseEnvironment" -}}
{{- $database := (index .root.Values .component).database -}}
{{- $prefix := printf "ATLAS_%s" (upper .component) -}}
{{- $secret := include "abdomenatlas.databaseSecret" . | fromYaml -}}
{{- $postgresql := include "abdomenatlas.postgresql" . | fromYaml -}}
{{- if eq $database.kind "sqlite" -}}
- {name: {{ $prefix }}_DATABASE_URL, value: "sqlite:////var/lib/atlas/{{ .component }}.db"}
{{- else -}}
- {name: {{ $prefix }}_DATABASE_URL_FILE, value: /etc/atlas/database/{{ $secret.key }}}
- {name: PGSSLMODE, value: {{ $postgresql.sslMode }}}
{{- with $postgresql.caBundle }}
{{- if .name }}
- {name: PGSSLROOTCERT, value: /etc/atlas/postgresql-ca/{{ .key }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
