#!/usr/bin/env bash
# Proves what is published: .ci/packaging.sh DIST FOLDER [PYTHON...], where DIST holds the sdist and the wheel that was built
# from it, and PYTHON are versions such as 3.12; by default each that sonoforge is for, which takes minutes.
# FOLDER receives sbom.json (CycloneDX) of the base install.
set -euo pipefail
dist=$(realpath "$1")
checkout=$(realpath "$(dirname "$0")/..")
mkdir -p "$2" && cd "$2"
pythons=("${@:3}")
[ "${#pythons[@]}" -gt 0 ] || pythons=(3.10 3.11 3.12 3.13 3.14)
wheel=$(ls "$dist"/sonoforge-*-py3-none-any.whl)
version=$(basename "$wheel" | cut -d- -f2)

python3 -m venv tools
tools/bin/pip install -q "twine>=6" "cyclonedx-bom>=7" "pip-licenses>=5" "uv>=0.9"
tools/bin/twine check --strict "$dist"/*

if git -C "$checkout" rev-parse --git-dir >/dev/null 2>&1; then
  tar tzf "$dist/sonoforge-$version.tar.gz" | cut -d/ -f2- | grep -v '^PKG-INFO$' | LC_ALL=C sort >sdist.txt
  git -C "$checkout" ls-files --cached --others --exclude-standard | LC_ALL=C sort | diff - sdist.txt && echo "sdist: every file of the repository, and no other"
fi

python_of() { # VERSION: an interpreter of this machine that starts, or nothing
  for one in "$(command -v "python$1" || true)" "$HOME"/.pyenv/versions/"$1".*/bin/python "$checkout/.venv/bin/python"; do
    if [ -x "$one" ] && [ "$("$one" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
      echo "$one" && return
    fi
  done
}

wheels_of() { # EXTRA PYTHON: whether each package that the extra needs has a wheel for this version
  tools/bin/uv pip compile -q "$checkout/pyproject.toml" --extra "$1" --python-version "$2" --only-binary :all: \
    --output-file resolved.txt >resolve.log 2>&1
}

# Extras without wheels for a version: pip has to compile.  Not tried: tensorrt and tensorrt-rtx, of which a source alone is published.
no_wheels="3.14:dicom-net"
for python in "${pythons[@]}"; do
  interpreter=$(python_of $python)
  if [ -n "$interpreter" ]; then
    "$interpreter" -m venv "base-$python"
    "base-$python/bin/pip" install -q --find-links "$dist" "sonoforge==$version" --report "report-$python.json"
    grep -q "\"url\": \"file://[^\"]*/$(basename "$wheel")\"" "report-$python.json" || { echo "another sonoforge was installed"; exit 1; }
    "base-$python/bin/sonoforge" verify >"verify-$python.txt" || { cat "verify-$python.txt"; exit 1; }
    "base-$python/bin/sonoforge" gan sample --bundle shipped --class benign --count 1 --out "drawn-$python" --quiet >/dev/null 2>&1
    echo "Python $python: pip install sonoforge, by its name; its golden answers are right"
  else
    echo "Python $python: not installed here, so its packages are resolved alone"
  fi
  if wheels_of all $python; then
    echo "Python $python: every extra has wheels"
    continue
  fi
  for extra in train export mobile dicom-net video heic segment cluster tune sign phone remote; do
    wheels_of $extra $python && continue
    [[ " $no_wheels " = *" $python:$extra "* ]] || { echo "Python $python: [$extra]"; cat resolve.log; exit 1; }
    echo "Python $python: every extra has wheels, but [$extra]"
  done
done

base=$(ls -d base-*/ | head -1)
python3 - >consumer.py <<'PY'
print("from sonoforge.runtime import Generator\n\nimages: str = Generator('bundle').generate(2, seed=3)")
PY
"$checkout/.venv/bin/python" -m mypy --strict --cache-dir cache --config-file= --python-executable "${base}bin/python" consumer.py >types.txt && { echo "mypy saw no types"; exit 1; }
grep -q 'expression has type "ndarray' types.txt || { cat types.txt; exit 1; }
echo "py.typed: a program that uses the wheel is checked against its types"

tools/bin/cyclonedx-py environment "${base}bin/python" --pyproject "$checkout/pyproject.toml" --of JSON -o sbom.json
echo "sbom.json: CycloneDX, $(grep -c '"purl"' sbom.json) packages; the base install has these licences:"
tools/bin/pip-licenses --python "${base}bin/python" --from=all --with-system --format=json | python3 "$checkout/.ci/licences.py" --base
