#!/bin/bash
# Trains on the GPUs of a Slurm job, one process a GPU, and goes on after it was
# preempted, ran into its time limit or lost a node:
#   sbatch --nodes=8 --ntasks-per-node=8 --gpus-per-node=8 \
#     tpu/slurm.sh train.py --config=... --workdir=...
# Needs .venv and --workdir on a file system that all nodes share.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -uo pipefail

MOST_RESTARTS=50

# JAX takes the number of processes, and of each, from Slurm.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)
export JAX_COORDINATOR_ADDRESS="$first:8476"

srun --kill-on-bad-exit=1 --label .venv/bin/python "$@" &
step=$!
trap 'kill -TERM "$step"' TERM
# The signal ends the first `wait`; the run saves, and ends the last.
wait "$step"
status=$?
while kill -0 "$step" 2> /dev/null; do
  wait "$step"
  status=$?
done

# As in trajvit/training/exits.py: after these another try would not help.
case $status in
  0 | 2 | 3 | 126 | 127 | 130) exit "$status" ;;
esac
if ((${SLURM_RESTART_COUNT:-0} >= MOST_RESTARTS)); then
  echo "status $status after $MOST_RESTARTS restarts: giving up" >&2
  exit "$status"
fi
echo "status $status: requeueing" >&2
exec scontrol requeue "$SLURM_JOB_ID"
