#!/usr/bin/env bash
# benchmarks.gpu on a machine that has torch and a card, and perhaps no network: what else it needs comes from the folder wheels/, made
# on a machine with the same Python by
#   pip download --no-deps -d wheels matplotlib numpy pandas pydantic pyyaml ... (the names of NEEDED below)
# Arguments are those of `python -m benchmarks.gpu`. The whole takes less than 8 minutes on a card of 2020 or later.
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
