# image_archive NAME ARCHIVE CONTEXT [BUILDAH FLAG…]: builds CONTEXT/Dockerfile into an OCI archive. Sourced.
#
# chroot and vfs need neither a daemon nor mounts that a container may not make. The storage is our own and thrown away:
# every image here is a few files in an empty root.
image_archive() {
  local image=$1 archive=$2 context=$3 storage; shift 3
  storage=$(mktemp -d "$cache/buildah.XXXXXX")
  local with=(--root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
  {
    buildah "${with[@]}" build --isolation chroot --format oci "$@" -t "$image" "$context" &&
      rm -f "$archive" "$archive.new" &&
      buildah "${with[@]}" push "$image" "oci-archive:$archive.new:$image" &&
      mv "$archive.new" "$archive"
  } >"$storage.log" 2>&1 || { cat "$storage.log" >&2; rm -rf "$storage" "$storage.log"; die "the image $image does not build"; }
  rm -rf "$storage" "$storage.log"
}
