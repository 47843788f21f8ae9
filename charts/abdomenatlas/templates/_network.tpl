{{/* NetworkPolicies: who may connect to whom, on which port. */}}

{{/* Policy of one component. Takes root, component and
"from"    components that call it,
"to"      components that it calls,
"outside" keys of networkPolicy that it calls beyond the release: postgresql, s3, issuer, kubernetesApi. */}}
{{- define "abdomenatlas.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $inside := eq .component "triton" | or .root.Values.insecure | ternary "grpc" "mutual" -}}
{{- if $policy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "abdomenatlas.metadata" . }}
spec:
  podSelector:
    matchLabels: {{- include "abdomenatlas.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if .from }}
    - ports: [{port: {{ $inside }}}]
      from:
        {{- range .from }}
        - podSelector:
            matchLabels: {{- include "abdomenatlas.selector" (dict "root" $.root "component" .) | nindent 14 }}
        {{- end }}
    {{- end }}
    {{- if ne .component "triton" }}
    - ports: [{port: grpc}]
      from:
        - podSelector:
            matchLabels: {{- include "abdomenatlas.selector" (dict "root" .root "component" "test") | nindent 14 }}
        {{- with $policy.clients }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- end }}
    {{- with $policy.monitoring }}
    - ports: [{port: metrics}]
      from: {{- toYaml . | nindent 8 }}
    {{- end }}
  egress: {{- include "abdomenatlas.egress" . | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "abdomenatlas.egress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- with $policy.dns -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
  to: {{- toYaml . | nindent 4 }}
{{- end }}
{{- range .to | default list }}
{{- $port := eq . "triton" | or $.root.Values.insecure | or (eq $.component "test") | ternary "grpc" "mutual" }}
- ports: [{port: {{ $port }}}]
  to:
    - podSelector:
        matchLabels: {{- include "abdomenatlas.selector" (dict "root" $.root "component" .) | nindent 10 }}
{{- end }}
{{- range .outside | default list | compact }}
{{- $place := index $policy . }}
{{- if and $.root.Values.evaluation.enabled (has . (list "postgresql" "s3")) }}
{{- $there := dict "root" $.root "component" (printf "evaluation-%s" .) }}
- ports: [{port: server}]
  to:
    - podSelector:
        matchLabels: {{- include "abdomenatlas.selector" $there | nindent 10 }}
{{- else }}
- ports: [{{ range $index, $port := $place.ports }}{{ if $index }}, {{ end }}{port: {{ $port }}}{{ end }}]
  {{- with $place.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}
