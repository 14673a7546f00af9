#!/usr/bin/env bash
# Proves that each extra alone runs its verbs: .ci/extras.sh WHEEL FOLDER [litert], with pinned versions from .ci/constraints.txt.
set -euo pipefail
wheel=$(realpath "$1")
constraints=$(realpath "$(dirname "$0")/constraints.txt")
support=$(realpath "$(dirname "$0")/../tests/support")
litert=${3:-}
mkdir -p "$2" && cd "$2"
export SONOFORGE_CACHE="$PWD/cache" XDG_STATE_HOME="$PWD/state" PIP_NO_COMPILE=1 # Python compiles what it imports

install() { # EXTRA or EXTRA,EXTRA: an environment with the wheel and these extras alone
  [ -d "$1" ] || python3 -m venv "$1"
  "$1/bin/python" -m pip install -q -c "$constraints" "$wheel[$1]"
}

include() { # BASE EXTRA...: these extras include BASE: copies of its environment, instead of gigabytes installed again
  base=$1 && shift
  for extra; do cp -al "$base" "$extra"; done
}

use() { # the verbs of an environment, from now on
  sonoforge=("$PWD/$1/bin/python" -m sonoforge.runtime.cli.main)
  "$1/bin/python" -c 'import sonoforge, sys; assert any(path.startswith(sys.prefix) for path in sonoforge.__path__)'
  echo "-- $1: $("$1/bin/python" -m pip list 2>/dev/null | tail -n +3 | wc -l) packages"
}

# Two cores: what the first verbs do not need is installed beside them.
install train
include train cluster,remote segment,tune
(install cluster,remote && install segment,tune) & others=$!
(install export && include export mobile litert && install mobile && { [ -z "$litert" ] || install litert; } && install dicom && include dicom dicom-net && install dicom-net && install phone && install completion && install video && install heic) & exports=$!
use train
"${sonoforge[@]}" data import phantom scans --images 150 --quiet
"${sonoforge[@]}" data audit --data scans --quiet
"${sonoforge[@]}" gan train --data scans --class malignant --recipe dcgan --size 32 --set gan.width=8 --steps 2 --quiet
"${sonoforge[@]}" gan sample runs/00000-* --count 4 --out generated --quiet
"${sonoforge[@]}" evaluate scans generated --features pixels --size 32 --quiet
"${sonoforge[@]}" train --data scans --weights shipped --epochs 1 --set classifier.ensemble_size=1 --quiet
"${sonoforge[@]}" crossval --data scans --set classifier.weights=shipped --arms real --folds 2 --set classifier.epochs=1 --set classifier.ensemble_size=1 --quiet

wait "$others"
use cluster,remote
"${sonoforge[@]}" crossval --data scans --set classifier.weights=shipped --arms real --folds 2 --set classifier.epochs=1 --set classifier.ensemble_size=1 --cluster local --quiet
"${sonoforge[@]}" crossval --data scans --set classifier.weights=shipped --arms real --folds 2 --set classifier.epochs=1 --set classifier.ensemble_size=1 --out "file://$PWD/url" --quiet
"$PWD/cluster,remote/bin/python" -c 'import s3fs'

use segment,tune
"${sonoforge[@]}" segment --data scans --recipes spade:small-data --folds 3 --set unet.image_size=32 --set unet.steps=2 --set unet.width=8 --set gan.kimg=0.032 --set gan.width=4 \
  --set metrics.features=pixels --set metrics.repeats=5 --quiet
"${sonoforge[@]}" gan search --data scans --class benign --recipes dcgan --trials 3 --kimg 0.05 --size 32 --over batch=4,8 --over width=4,8 \
  --set gan.metric_features=pixels --quiet
"${sonoforge[@]}" gan search --what cells --data scans --class benign --set gan.conditioning=none --stages generator --set search.population=2 --set search.children=1 --kimg 0.05 --set gan.width=2 \
  --set gan.metric_features=pixels --quiet

wait "$exports"
use export
"${sonoforge[@]}" export runs/*-train-* --data phantom --formats onnx,torchscript --out classifier --quiet
"${sonoforge[@]}" export runs/00000-* --formats onnx --out generator --quiet
"${sonoforge[@]}" gan sample --bundle generator --count 2 --out from-bundle --quiet

use mobile
"${sonoforge[@]}" export runs/*-train-* --data phantom --formats executorch --out on-a-phone --quiet
"${sonoforge[@]}" verify on-a-phone --trust

if [ -n "$litert" ]; then
  use litert
  "${sonoforge[@]}" export runs/*-train-* --data phantom --formats litert --out on-a-board --quiet
  "${sonoforge[@]}" verify on-a-board --trust
fi

use dicom
PYTHONPATH="$support" dicom/bin/python -c 'import cbis, pathlib; cbis.write_collection(pathlib.Path("cbis"))'
"${sonoforge[@]}" data import cbis-ddsm cbis regions --quiet

use dicom-net
"${sonoforge[@]}" listen --port 0 --quiet >listen.txt & listener=$!
timeout 60 bash -c 'until grep -q listening listen.txt; do sleep 0.2; done'
dicom-net/bin/python -m pynetdicom echoscu 127.0.0.1 "$(sed -n 's/^listening .*:\([0-9]*\) .*/\1/p' listen.txt)" -aec SONOFORGE
kill -TERM "$listener" && wait "$listener"

use phone
phone/bin/python -c 'import segno; from sonoforge.mobile.certificate import certificate_for; certificate_for("192.168.1.20")'
use video
video/bin/python - <<'PY'
import pathlib

import cv2

film = cv2.VideoWriter("clip.avi", cv2.VideoWriter_fourcc(*"FFV1"), 10, (256, 256))
for path in sorted(pathlib.Path("scans").rglob("*.png"))[:3]:
    film.write(cv2.resize(cv2.imread(str(path)), (256, 256)))
film.release()
PY
"${sonoforge[@]}" classify clip.avi --quiet

use heic
cp "$support/../golden/picture.heic" scan.heic
"${sonoforge[@]}" classify scan.heic --quiet

echo "train, cluster with remote, segment with tune, export, mobile, ${litert:+litert, }dicom, dicom-net, phone, video, heic: each runs its verbs alone"
[ -n "$litert" ] || echo "litert was left out, as it takes 0.9 GB: .ci/extras.sh WHEEL FOLDER litert"
