#!/bin/bash
# Without Ray: each task of an array does its part, on a node of its own.
#
#   sbatch docs/cluster/slurm_array.sh
#   bin/eval_all --datasets=Set5,Set14,B100 --config=fast --output=out/tables --merge
#SBATCH --job-name=zssr
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -euo pipefail
parts=8 # of --array; not counted, so that a part may be done again by itself
zssr-eval --datasets=Set5,Set14,B100 --config=fast --output=out/tables \
  --shard="$SLURM_ARRAY_TASK_ID/$parts"
