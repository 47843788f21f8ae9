{{/* One server of the evaluation. Takes root, component, and
"server" its key in the values, "port", "command", "env" (a dict), "from" (components that call it). */}}
{{- define "abdomenatlas.evaluation.server" -}}
{{- $values := index .root.Values.evaluation .server -}}
# NOT FOR PRODUCTION: one server, one volume, no backup, no TLS.
apiVersion: apps/v1
kind: StatefulSet
{{ include "abdomenatlas.metadata" . }}
spec:
  replicas: 1
  serviceName: {{ include "abdomenatlas.name" . }}
  selector:
    matchLabels: {{- include "abdomenatlas.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "abdomenatlas.labels" . | nindent 8 }}
    spec:
      serviceAccountName: {{ include "abdomenatlas.name" . }}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 120
      securityContext: {{- include "abdomenatlas.podSecurity" . | nindent 8 }}
      {{- include "abdomenatlas.placement" (merge (dict "values" $values) .) | nindent 6 }}
      containers:
        - name: {{ .server }}
          image: {{ include "abdomenatlas.image" (dict "root" .root "image" .root.Values.evaluation.image) }}
          imagePullPolicy: {{ .root.Values.global.imagePullPolicy }}
          command: [{{ .command }}]
          env:
            - {name: DATA, value: /var/lib/atlas}
            - {name: RUN, value: /tmp/run}
            - {name: KEYS, value: /etc/atlas/keys}
            - {name: PORT, value: {{ .port | quote }}}
            {{- range $name, $value := .env }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
          ports:
            - {name: server, containerPort: {{ .port }}}
          startupProbe: {tcpSocket: {port: server}, periodSeconds: 5, failureThreshold: 60}
          readinessProbe: {tcpSocket: {port: server}, periodSeconds: 5}
          livenessProbe: {tcpSocket: {port: server}, periodSeconds: 10, failureThreshold: 6}
          securityContext: {{- include "abdomenatlas.containerSecurity" . | nindent 12 }}
          resources: {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: data, mountPath: /var/lib/atlas}
            - {name: tmp, mountPath: /tmp}
            - {name: keys, mountPath: /etc/atlas/keys, readOnly: true}
      volumes:
        - {name: tmp, emptyDir: {}}
        - name: keys
          secret:
            secretName: {{ include "abdomenatlas.evaluationSecret" . }}
            defaultMode: 0440
            items: [{{ range $index, $key := .keys }}{{ if $index }}, {{ end }}{key: {{ $key }}, path: {{ $key }}}{{ end }}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $values.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ $values.size }}}}
---
apiVersion: v1
kind: Service
{{ include "abdomenatlas.metadata" . }}
spec:
  clusterIP: None
  selector: {{- include "abdomenatlas.selector" . | nindent 4 }}
  ports:
    - {name: server, port: {{ .port }}, targetPort: server}
---
{{ include "abdomenatlas.serviceAccount" . }}
{{- if .root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "abdomenatlas.metadata" . }}
spec:
  podSelector:
    matchLabels: {{- include "abdomenatlas.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{port: server}]
      from:
        {{- range .from }}
        - podSelector:
            matchLabels: {{- include "abdomenatlas.selector" (dict "root" $.root "component" .) | nindent 14 }}
        {{- end }}
{{- end }}
{{- end -}}
