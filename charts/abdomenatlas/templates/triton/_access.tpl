{{/* Who may speak to Triton: over TLS only who shows a certificate of the installation's authority. The kubelet has none,
so its probes ask by HTTP inside the pod. */}}
{{- define "abdomenatlas.triton.access" -}}
{{- if ne .Values.tls.mode "none" -}}
- --grpc-use-ssl=true
- --grpc-use-ssl-mutual=true
- --grpc-server-cert=/etc/atlas/tls/tls.crt
- --grpc-server-key=/etc/atlas/tls/tls.key
- --grpc-root-cert=/etc/atlas/tls/ca.crt
- --allow-http=true
- --http-address=127.0.0.1
- --http-port=8000
{{- else -}}
- --allow-http=false
{{- end -}}
{{- end -}}

{{- define "abdomenatlas.triton.probe" -}}
exec: {command: [python3, -c, "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]}
{{- end -}}
