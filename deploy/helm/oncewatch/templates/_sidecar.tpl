{{/*
The sidecar in four templates. Each takes the scope of this chart: the root context here, and
`.Subcharts.oncewatch` in a chart that depends on it:

  metadata:
    labels:
      {{- include "oncewatch.podLabels" .Subcharts.oncewatch | nindent 8 }}   else the PodMonitor selects nothing
  initContainers:
    {{- include "oncewatch.initContainers" .Subcharts.oncewatch | nindent 8 }}   first in the list
  containers:
    - name: app
      volumeMounts:
        {{- include "oncewatch.volumeMounts" .Subcharts.oncewatch | nindent 12 }}
  volumes:
    {{- include "oncewatch.volumes" .Subcharts.oncewatch | nindent 8 }}
*/}}

{{- define "oncewatch.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "oncewatch.podLabels" -}}
oncewatch.dev/inject: "true"
{{- end }}

{{- define "oncewatch.initContainers" -}}
- {{ include "oncewatch.container" . | nindent 2 | trim }}
{{- end }}

{{- define "oncewatch.container" -}}
name: oncewatch
image: {{ include "oncewatch.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: ["run"]
restartPolicy: Always
ports:
  - name: oncewatch
    containerPort: {{ .Values.sidecar.metricsPort }}
    protocol: TCP
envFrom:
  - configMapRef:
      name: {{ .Values.sidecar.settingsConfigMap }}
      optional: true
env:
  {{- if .Values.sidecar.state.enabled }}
  - name: ONCEWATCH_STATE_DIR
    value: /var/lib/oncewatch
  - name: ONCEWATCH_STATE_MAX_BYTES
    value: {{ .Values.sidecar.state.maxMiB | int64 }}MiB
  {{- end }}
  - name: ONCEWATCH_SOCKET
    value: /run/oncewatch/events.sock
  - name: ONCEWATCH_METRICS_ADDR
    value: {{ printf "%s:%d" .Values.sidecar.metricsHost (.Values.sidecar.metricsPort | int64) | quote }}
  - name: ONCEWATCH_CAPACITY
    value: {{ .Values.sidecar.capacity | int64 | quote }}
  - name: ONCEWATCH_TOKEN_HASH_KEY
    valueFrom:
      secretKeyRef:
        name: {{ .Values.sidecar.tokenHashKey.secretName }}
        key: {{ .Values.sidecar.tokenHashKey.secretKey }}
        optional: true
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_UID
    valueFrom:
      fieldRef:
        fieldPath: metadata.uid
  - name: NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  - name: OTEL_SERVICE_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.labels['app.kubernetes.io/name']
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME),k8s.container.name=oncewatch,service.instance.id=$(POD_NAMESPACE).$(POD_NAME).oncewatch
  {{- range $name, $value := .Values.sidecar.env }}
  - name: {{ $name }}
    value: {{ $value | toString | quote }}
  {{- end }}
startupProbe:
  httpGet:
    path: /livez
    port: oncewatch
  periodSeconds: 1
  timeoutSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /livez
    port: oncewatch
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
resources:
  {{- toYaml .Values.sidecar.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  privileged: false
  capabilities:
    drop: ["ALL"]
  seccompProfile:
    type: RuntimeDefault
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  {{- include "oncewatch.volumeMounts" . | nindent 2 }}
  {{- if .Values.sidecar.state.enabled }}
  - name: oncewatch-state
    mountPath: /var/lib/oncewatch
  {{- end }}
{{- end }}

{{- define "oncewatch.volumeMounts" -}}
- name: oncewatch
  mountPath: /run/oncewatch
{{- end }}

{{- define "oncewatch.volumes" -}}
- name: oncewatch
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- if .Values.sidecar.state.enabled }}
{{- /* The kubelet evicts the pod if more is used: room for what files take besides their bytes. */}}
- name: oncewatch-state
  emptyDir:
    sizeLimit: {{ div (mul 5 (.Values.sidecar.state.maxMiB | int64)) 4 }}Mi
{{- end }}
{{- end }}
