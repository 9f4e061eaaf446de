#!/usr/bin/env bash
# A stand-in for debian:trixie-slim where no image registry answers, made for buildah from Debian's own packages.
#
#   base_image.sh NAME          as root; needs buildah and debootstrap
#
# A certificate bundle that this machine's programs are told to trust (SSL_CERT_FILE) is put into the image, so that pip
# reaches the package index from inside as it does from outside.
set -euo pipefail
name=${1:?usage: base_image.sh NAME}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates trixie "$root" >&2
# what the slim image leaves out
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,info,locale}/*
container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >&2
if [[ -n ${SSL_CERT_FILE:-} && -r ${SSL_CERT_FILE:-} ]]; then
    buildah copy --quiet "$container" "$SSL_CERT_FILE" /etc/ssl/trusted-outside.pem >&2
    for variable in SSL_CERT_FILE PIP_CERT REQUESTS_CA_BUNDLE; do
        buildah config --env "$variable=/etc/ssl/trusted-outside.pem" "$container"
    done
fi
buildah config --cmd bash "$container"
buildah commit --quiet "$container" "$name" >&2
buildah rm "$container" >/dev/null
