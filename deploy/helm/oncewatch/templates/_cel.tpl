{{/*
"oncewatch.cel" writes a value as the CEL literal that a MutatingAdmissionPolicy puts into a JSON patch.
Maps become typed objects, as CEL refuses map literals of mixed value types there.
Takes a list: the value, its path as a CEL type name, and the indentation of its closing brace.
*/}}
{{- define "oncewatch.cel" -}}
{{- $value := index . 0 }}
{{- $path := index . 1 }}
{{- $indent := index . 2 }}
{{- $inner := printf "%s  " $indent }}
{{- if kindIs "map" $value -}}
{{ $path }}{
{{- range $key, $item := $value }}
{{ $inner }}{{ $key }}: {{ include "oncewatch.cel" (list $item (printf "%s.%s" $path $key) $inner) }},
{{- end }}
{{ $indent }}}
{{- else if kindIs "slice" $value -}}
[
{{- range $value }}
{{ $inner }}{{ include "oncewatch.cel" (list . $path $inner) }},
{{- end }}
{{ $indent }}]
{{- else if kindIs "string" $value -}}
{{ $value | quote }}
{{- else if kindIs "bool" $value -}}
{{ $value }}
{{- else -}}
{{ $value | int64 }}
{{- end -}}
{{- end }}
