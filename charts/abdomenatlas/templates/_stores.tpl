{{/* Where the tables and the bytes are: what the values refer to, or the evaluation's own servers. */}}

{{/* Secret with the passwords and keys of the evaluation's servers. */}}
{{- define "abdomenatlas.evaluationSecret" -}}
{{- with .root.Values.evaluation.existingSecret }}{{ . }}{{ else }}{{ include "abdomenatlas.name" (dict "root" $.root "component" "evaluation") }}{{ end }}
{{- end -}}

{{/* {name, key} of the Secret with the URL of the component's database. */}}
{{- define "abdomenatlas.databaseSecret" -}}
{{- if .root.Values.evaluation.enabled -}}
name: {{ include "abdomenatlas.evaluationSecret" . }}
key: {{ .component }}-url
{{- else -}}
{{ toYaml (index .root.Values .component).database.existingSecret }}
{{- end -}}
{{- end -}}

{{/* The values `s3`, completed. */}}
{{- define "abdomenatlas.s3" -}}
{{- if .root.Values.evaluation.enabled -}}
endpoint: {{ include "abdomenatlas.host" (dict "root" .root "component" "evaluation-s3") }}:7480
bucket: atlas
prefix: ""
region: default
secure: false
caBundle: {name: "", key: ""}
existingSecret:
  name: {{ include "abdomenatlas.evaluationSecret" . }}
  accessKey: access-key
  secretKey: secret-key
{{- else -}}
{{ toYaml .root.Values.s3 }}
{{- end -}}
{{- end -}}

{{/* The values `postgresql`, completed. */}}
{{- define "abdomenatlas.postgresql" -}}
{{- if .root.Values.evaluation.enabled -}}
sslMode: disable
caBundle: {name: "", key: ""}
{{- else -}}
{{ toYaml .root.Values.postgresql }}
{{- end -}}
{{- end -}}
