#!/bin/sh
# Copy the images of this bundle to your own registry: ./mirror.sh registry.hospital.example/atlas [gpu|cpu]
#
# Needs skopeo, and `skopeo login` before. An image that lies in archives/ is taken from there, any other from where
# SOURCE says. Writes values-images.yaml, which pins every image by its digest; give it to helm with -f.
set -eu
cd "$(dirname "$0")"
registry=${1:?where to: ./mirror.sh registry.hospital.example/atlas [gpu|cpu]}
profile=${2:-gpu}
case $profile in gpu | cpu) ;; *) echo "gpu or cpu, not $profile" >&2; exit 2 ;; esac
values=values-images.yaml
printf 'global:\n  imageRegistry: %s\n  imageDigests:\n' "$registry" > "$values.part"
while read -r repository tag kind; do
    case $kind in all | "$profile") ;; *) continue ;; esac
    archive=archives/$(basename "$repository").tar
    if [ -f "$archive" ]; then
        from=docker-archive:$archive
    else
        from=docker://${SOURCE:?where $repository is, such as registry.example: no $archive}/$repository:$tag
    fi
    # shellcheck disable=SC2086 # several options in one variable
    skopeo copy --digestfile digest.part ${SKOPEO_OPTIONS:-} "$from" "docker://$registry/$repository:$tag" </dev/null
    printf '    %s: %s\n' "$repository" "$(cat digest.part)" >> "$values.part"
done < images.txt
rm -f digest.part
mv "$values.part" "$values"
echo "$values pins what is now in $registry"
