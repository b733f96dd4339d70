#!/bin/bash
# Runs as root at every boot of a TPU VM, on all hosts of a slice: mounts the run
# directories and trains in a container, under the supervisor. `python -m
# tpu.launch` writes into the metadata which image, which mount and which command.
set -euo pipefail

metadata() {
  curl --silent --show-error --fail --header "Metadata-Flavor: Google" \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

image=$(metadata trajvit-image)
command=$(metadata trajvit-command)
runs=$(metadata trajvit-runs)

if ! { command -v docker && command -v mount.nfs; } > /dev/null; then
  apt-get update
  apt-get install --yes docker.io nfs-common
fi
mkdir -p /runs
mountpoint --quiet /runs || mount -t nfs "$runs" /runs
gcloud auth configure-docker "${image%%/*}" --quiet

# The first host of the first slice is where the others find each other. With
# several slices the environment of the TPU names it; else it is the first of the
# endpoints, which are hosts, or name:number:address.
first=$(metadata tpu-env | sed -n "s/^MEGASCALE_COORDINATOR_ADDRESS: '\([^:']*\).*/\1/p")
if [[ -z "$first" ]]; then
  first=$(metadata worker-network-endpoints | cut -d, -f1)
  first=${first##*:}
fi

docker rm --force trajvit 2> /dev/null || true
exec docker run --name=trajvit --privileged --network=host --volume=/runs:/runs \
  --stop-timeout=300 --env=JAX_COORDINATOR_ADDRESS="$first:8476" \
  "$image" bash -c "exec $command"
