#!/bin/bash
# A Ray cluster of the nodes of one Slurm job: images go where there is room.
#
#   sbatch docs/cluster/slurm_ray.sh photos enlarged
#SBATCH --job-name=zssr-ray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
set -euo pipefail
input=$1 output=$2 port=6379
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | cut -d' ' -f1)

srun --nodes=1 --ntasks=1 -w "$head" ray start --head --block \
  --node-ip-address="$address" --port=$port --include-dashboard=false \
  --num-cpus="$SLURM_CPUS_PER_TASK" &
sleep 15
workers=$((SLURM_JOB_NUM_NODES - 1))
if ((workers)); then
  srun --nodes=$workers --ntasks=$workers --exclude="$head" ray start --block \
    --address="$address:$port" --num-cpus="$SLURM_CPUS_PER_TASK" &
fi
sleep 15
srun --overlap --nodes=1 --ntasks=1 -w "$head" \
  zssr "$input" -r -o "$output" --cluster="$address:$port"
