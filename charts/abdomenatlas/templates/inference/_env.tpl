{{- define "abdomenatlas.inference.env" -}}
{{ include "abdomenatlas.peer" (merge (dict "peer" "storage") .) }}
{{ include "abdomenatlas.peer" (merge (dict "peer" "triton") .) }}
{{- if ne .root.Values.tls.mode "none" }}
- {name: ATLAS_INFERENCE_TRITON_TLS, value: "true"}
{{- end }}
{{- end -}}
