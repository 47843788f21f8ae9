{{/* What the Secrets that the values name must hold. */}}

{{/* List of {value, name, keys}: the value that names a Secret, the Secret, and keys that pods read in it. */}}
{{- define "abdomenatlas.neededSecrets" -}}
{{- $v := .Values -}}
{{- if $v.evaluation.enabled }}
- {value: evaluation.existingSecret, name: {{ $v.evaluation.existingSecret | quote }}, keys: [password, storage-url, scheduler-url, access-key, secret-key]}
{{- else }}
{{- range $component := tuple "storage" "scheduler" }}
{{- with (index $v $component).database }}
{{- if eq .kind "postgresql" }}
- {value: {{ $component }}.database.existingSecret, name: {{ .existingSecret.name | quote }}, keys: [{{ .existingSecret.key | quote }}]}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $v.storage.objects.kind "s3" }}
{{- with $v.s3.existingSecret }}
- {value: s3.existingSecret, name: {{ .name | quote }}, keys: [{{ .accessKey | quote }}, {{ .secretKey | quote }}]}
{{- end }}
{{- end }}
{{- end }}
- {value: metrics.token, name: {{ $v.metrics.token.name | quote }}, keys: [{{ $v.metrics.token.key | quote }}]}
- {value: test.token, name: {{ $v.test.token.name | quote }}, keys: [{{ $v.test.token.key | quote }}]}
{{- if eq $v.tls.mode "existing" }}
{{- range $component, $name := $v.tls.existingSecrets }}
- {value: tls.existingSecrets.{{ $component }}, name: {{ $name | quote }}, keys: [tls.crt, tls.key, ca.crt]}
{{- end }}
{{- end }}
{{- end -}}

{{/* List of sentences about Secrets that are there and hold nothing where something is needed. One that is not there is
no fault: it may come later, and its pods wait for it. Nor can one be seen by `helm template`. */}}
{{- define "abdomenatlas.emptySecrets" -}}
{{- $faults := list -}}
{{- range $needed := include "abdomenatlas.neededSecrets" . | fromYamlArray -}}
{{- with and $needed.name (lookup "v1" "Secret" $.Release.Namespace $needed.name) -}}
{{- $data := .data | default dict -}}
{{- range $key := $needed.keys -}}
{{- if not (get $data $key | b64dec | trim) -}}
{{- $faults = append $faults (printf "%s: the Secret %s holds nothing under %s: fill it, or name another." $needed.value $needed.name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $faults }}
{{- end -}}
