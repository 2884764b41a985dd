#!/bin/sh
# Tests and quick benchmark on a machine with an NVIDIA GPU, in one call: benchmarks/gpu.sh OUT [PACKAGES]
#   OUT       folder for the logs and gpu.json
#   PACKAGES  folder of installed packages that PYTHON lacks
# PYTHON, TESTS_S and BENCH_S choose the interpreter and the time limits in seconds. make test-gpu and make bench-gpu do
# the same in the project's environment.
set -u
out=$1
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="${2:+$2:}$root/src" PYTHONUNBUFFERED=1 WANDB_MODE=disabled
python=${PYTHON:-python3}
cd "$root" || exit 1
mkdir -p "$out"
timeout -s INT -k 15 "${TESTS_S:-240}" "$python" -m pytest -m gpu -v --maxfail=20 -n 0 -p no:cacheprovider --durations=12 --tb=short \
	-rfEs tests/test_gpu.py >"$out/tests.log" 2>&1
tested=$?
grep -E "^(FAILED|ERROR|SKIPPED|E  )|(FAILED|ERROR) +\[|passed|failed|s (call|setup)" "$out/tests.log" | cut -c1-200 | tail -60
echo "tests: exit code $tested"
timeout "${BENCH_S:-230}" "$python" benchmarks/gpu.py --quick --limit-s "$((${BENCH_S:-230} - 50))" \
	--json "$out/gpu.json" >"$out/bench.log" 2>&1
measured=$?
tail -45 "$out/bench.log" | cut -c1-300
echo "benchmark: exit code $measured"
exit $((tested + measured))
