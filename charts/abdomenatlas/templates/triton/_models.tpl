{{/* Copies each model (name=digest) from the image to the pod and refuses what is not the digest's. Plain sh, so that
any image with a folder /models will do. */}}
{{- define "abdomenatlas.triton.fetch" -}}
for model in "$@"; do
  name=${model%%=*}
  rm -rf "/repository/$name"
  cp -r "/models/$name" /repository/
  found=$(cd "/repository/$name" && find . -name __pycache__ -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort -k 2 | sha256sum)
  if [ "${found%% *}" != "${model#*=}" ]; then
    echo "The model $name has the digest ${found%% *}, not ${model#*=}." >&2
    exit 1
  fi
done
{{- end -}}
