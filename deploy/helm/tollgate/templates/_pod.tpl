{{/* The pod of the Deployment and of the StatefulSet. */}}
{{- define "tollgate.pod" -}}
metadata:
  labels:
    {{- include "tollgate.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "tollgate.serviceAccountName" . }}
  terminationGracePeriodSeconds: {{ include "tollgate.gracePeriod" . }}
  containers:
    - name: tollgate
      args: [run, -c, /etc/tollgate/config/gateway.yaml, --log-format, {{ .Values.logFormat }}]
      {{- include "tollgate.container" . | nindent 6 }}
      ports:
        {{- range (fromJson (include "tollgate.listeners" .)).ports }}
        - { name: {{ .name }}, containerPort: {{ .port }}, protocol: TCP }
        {{- end }}
        - { name: admin, containerPort: {{ include "tollgate.adminPort" . }}, protocol: TCP }
      startupProbe:
        httpGet: { path: /readyz, port: admin }
        {{- toYaml .Values.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "tollgate.mounts" . | nindent 8 }}
        {{- if include "tollgate.hasVolume" . }}
        - { name: data, mountPath: /var/lib/tollgate }
        {{- end }}
  {{- include "tollgate.podSpec" . | nindent 2 }}
{{- end }}

{{/* What a container of the gateway's image is, whatever it runs. */}}
{{- define "tollgate.container" -}}
image: {{ include "tollgate.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- if or .Values.env .Values.logFilter }}
env:
  {{- with .Values.logFilter }}
  - { name: RUST_LOG, value: {{ quote . }} }
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Folders, never `subPath`, which would not follow a change. */}}
{{- define "tollgate.mounts" -}}
- { name: config, mountPath: /etc/tollgate/config, readOnly: true }
{{- if .Values.existingSecret }}
- { name: secrets, mountPath: /etc/tollgate/secrets, readOnly: true }
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What a pod with that image is, whatever it runs. */}}
{{- define "tollgate.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
volumes:
  - name: config
    configMap: { name: {{ include "tollgate.fullname" . }} }
  {{- with .Values.existingSecret }}
  - name: secrets
    secret: { secretName: {{ . }}, defaultMode: 0440 }
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
