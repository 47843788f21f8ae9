{{/* The gRPC service of a component, by which gateways tell where a call goes. */}}
{{- define "abdomenatlas.grpcService" -}}
abdomenatlas.{{ .component }}.v1.{{ title .component }}Service
{{- end -}}
