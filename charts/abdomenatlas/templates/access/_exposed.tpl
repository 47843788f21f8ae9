{{/* How gateways tell where a call goes. */}}

{{/* The gRPC service of a component, which no other has. */}}
{{- define "abdomenatlas.grpcService" -}}
abdomenatlas.{{ .component }}.v1.{{ title .component }}Service
{{- end -}}

{{/* Services that several components have under one name: the header x-atlas-service says whose is meant. Without it
reflection and health are the scheduler's, and audit is nobody's: one log must not be taken for the other. */}}
{{- define "abdomenatlas.sharedServices" -}}
{{- if has .component (list "storage" "scheduler") }}
- abdomenatlas.audit.v1.AuditService
{{- end }}
{{ include "abdomenatlas.openServices" . }}
{{- end -}}

{{- define "abdomenatlas.openServices" -}}
- grpc.reflection.v1alpha.ServerReflection
- grpc.health.v1.Health
{{- end -}}
