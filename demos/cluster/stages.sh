# A run in stages, each as long as the time limit allows; sourced by the batch scripts beside it.
#
#     start or resume ──► done: report, the program's status
#         ▲   │ TERM to this shell (--signal=B:TERM@seconds, or scancel --batch --signal=TERM JOB)
#         │   ▼
#      requeue ◄── TERM to the ranks, which write a checkpoint and leave with status 143
#
# The batch script has set PROGRAM, the command of one rank.  `--signal` may come half a minute early, and the checkpoint
# is written after the iteration in progress: let 180 seconds before the limit exceed the two.

launcher=''   # process id of the launcher while it runs
asked=false   # whether TERM came

say() { echo "$(date +%FT%T) job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)): $*"; }

default_setup() {
  local file=$SLURM_SUBMIT_DIR/.venv/bin/activate
  if [[ -f $file ]]; then printf 'source %q' "$file"; fi
}

# Run the user's shell code here; modules and conda read variables that are not set.
set_up() {
  cd "$SLURM_SUBMIT_DIR" || exit 1
  set +u
  eval "$1"
  set -u
}

# Pass TERM on: mpiexec hands it to its ranks; srun would cancel its step, so the step itself is signalled.
stop_ranks() {
  trap '' TERM   # it may come again while the ranks write their checkpoint
  asked=true
  [[ -n $launcher ]] || return 0
  say 'asked to stop'
  if [[ ${LAUNCH:-mpiexec} == srun ]]; then
    scancel --signal=TERM "$SLURM_JOB_ID.0"
  else
    kill -TERM "$launcher"
  fi
}

# The rest of the run goes into the queue, unless somebody cancelled the job or nothing comes of it.
requeue() {
  local state
  state=$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T)
  if [[ $state != RUNNING ]]; then
    say "not requeued: the job is ${state:-gone}"
  elif ((${SLURM_RESTART_COUNT:-0} >= ${RESTARTS:-100})); then
    say "not requeued: it was ${RESTARTS:-100} times; submit it again to go on"
  elif scontrol requeue "$SLURM_JOB_ID"; then
    say 'requeued'
  else
    say 'requeueing failed; submit it again to go on'
  fi
  exit 143
}

run_to_the_end() {
  if (($# < 2)); then
    echo 'usage: sbatch SCRIPT CASE.toml FOLDER [--set KEY=VALUE]…' >&2
    exit 2
  fi
  local case_file=$1 folder=$2 status
  shift 2
  local command=("${PROGRAM[@]}" train "$case_file" --output "$folder" "$@")
  if [[ -e $folder/checkpoint || -e $folder/case.toml ]]; then command+=(--resume); fi
  export OMP_NUM_THREADS=1   # the ranks are the parallelism; threads beside them only get in each other's way
  case ${LAUNCH:-mpiexec} in
    srun) command=(srun --mpi="${MPI_TYPE:-pmi2}" "${command[@]}") ;;
    mpiexec) command=(mpiexec -n "$SLURM_NTASKS" "${command[@]}") ;;
    *) echo "LAUNCH is mpiexec or srun, not $LAUNCH" >&2; exit 2 ;;
  esac
  if $asked; then requeue; fi
  say "${command[*]}"
  "${command[@]}" &
  launcher=$!
  if $asked; then stop_ranks; fi   # TERM came between the two lines above
  wait "$launcher"; status=$?
  if $asked; then wait "$launcher"; status=$?; fi   # TERM had ended the first wait, not the launcher
  say "status $status"
  if $asked && ((status > 3)); then requeue; fi   # up to 3 the program has ended by itself
  exit "$status"
}

trap stop_ranks TERM
