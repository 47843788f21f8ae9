{{- define "abdomenatlas.storage.env" -}}
{{- $v := .root.Values -}}
{{- $s3 := include "abdomenatlas.s3" . | fromYaml -}}
{{ include "abdomenatlas.databaseEnvironment" . }}
{{- if eq $v.storage.objects.kind "folder" }}
- {name: ATLAS_STORAGE_OBJECTS, value: "file:/var/lib/atlas/objects"}
{{- else }}
- {name: ATLAS_STORAGE_OBJECTS, value: "s3://{{ $s3.bucket }}{{ with $s3.prefix }}/{{ . }}{{ end }}"}
- {name: ATLAS_STORAGE_S3_ENDPOINT, value: {{ $s3.endpoint | quote }}}
- {name: ATLAS_STORAGE_S3_REGION, value: {{ $s3.region | quote }}}
- {name: ATLAS_STORAGE_S3_SECURE, value: {{ $s3.secure | quote }}}
- {name: ATLAS_STORAGE_S3_ACCESS_KEY_FILE, value: /etc/atlas/s3/{{ $s3.existingSecret.accessKey }}}
- {name: ATLAS_STORAGE_S3_SECRET_KEY_FILE, value: /etc/atlas/s3/{{ $s3.existingSecret.secretKey }}}
{{- if $s3.caBundle.name }}
- {name: ATLAS_STORAGE_S3_CA_BUNDLE, value: /etc/atlas/s3-ca/{{ $s3.caBundle.key }}}
{{- end }}
{{- end }}
{{- end -}}
