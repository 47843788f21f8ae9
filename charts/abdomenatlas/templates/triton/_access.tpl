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

{{/* Triton reads its certificate only at its start. So the container notes then which it was, and is not alive any more
when there has been another for a while: the kubelet starts it again, through the drain. */}}
{{- define "abdomenatlas.triton.notes" -}}
{{- if ne .Values.tls.mode "none" -}}
- sh
- -euc
- |
  cat /etc/atlas/tls/tls.crt /etc/atlas/tls/ca.crt | sha256sum > /tmp/certificate-at-start
  exec "$0" "$@"
{{- end -}}
{{- end -}}

{{- define "abdomenatlas.triton.ready" -}}
{{- if ne .Values.tls.mode "none" -}}
exec: {{ dict "command" (list "python3" "-c" (include "abdomenatlas.triton.asks" .)) | toJson }}
{{- end -}}
{{- end -}}

{{- define "abdomenatlas.triton.alive" -}}
{{- if ne .Values.tls.mode "none" -}}
exec: {{ dict "command" (list "python3" "-c" (printf "%s\n%s" (include "abdomenatlas.triton.asks" .) (include "abdomenatlas.triton.compares" .))) | toJson }}
{{- end -}}
{{- end -}}

{{- define "abdomenatlas.triton.asks" -}}
import urllib.request
urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)
{{- end -}}

{{/* Files that do not fit together would only keep Triton from starting: the old ones stay, as with the services. */}}
{{- define "abdomenatlas.triton.compares" -}}
import hashlib, pathlib, ssl, sys
folder = pathlib.Path('/etc/atlas/tls')
crt, key, ca = (folder / name for name in ('tls.crt', 'tls.key', 'ca.crt'))
now = hashlib.sha256(crt.read_bytes() + ca.read_bytes()).hexdigest()
if now != pathlib.Path('/tmp/certificate-at-start').read_text().split()[0]:
    try:
        ssl.create_default_context(cafile=ca).load_cert_chain(crt, key)
    except OSError:
        sys.exit(0)
    sys.exit('There is a new certificate, and Triton serves the one that it read at its start.')
{{- end -}}
