{{- define "abdomenatlas.inference.env" -}}
{{ include "abdomenatlas.peer" (merge (dict "peer" "storage") .) }}
{{ include "abdomenatlas.peer" (merge (dict "peer" "triton") .) }}
{{- end -}}
