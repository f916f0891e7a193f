#!/usr/bin/env bash
# Run `python -m benchmarks.gpu`, with its arguments, on a machine that has torch and a card. What else it needs is installed for this run:
# from the folder wheels/ where there is one, else from the package index. On a machine with the same Python,
#   pip download -d wheels $(sed -n 's/^NEEDED=(\(.*\))/\1/p' benchmarks/gpu.sh)
# makes that folder. No card has been measured yet.
set -euo pipefail
cd "$(dirname "$0")/.."
NEEDED=(matplotlib numpy pandas pydantic pyyaml ruamel.yaml safetensors scikit-learn scipy soundfile soxr threadpoolctl tqdm webrtcvad-wheels)
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv --system-site-packages "$place/venv"  # torch is the machine's own
from=()
if [ -d wheels ]; then from=(--no-index --find-links wheels); fi
"$place/venv/bin/python" -m pip install -q "${from[@]}" "${NEEDED[@]}"
"$place/venv/bin/python" -m benchmarks.gpu "$@"
