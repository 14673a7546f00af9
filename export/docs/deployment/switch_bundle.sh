#!/bin/sh
# Serve another bundle: verified before, checked after, and back to the one before if either fails.
#
#   switch_bundle.sh bundles/2026-12        # to a new one; to roll back, name the old one
#
# `current` is a symbolic link to the bundle that is served: sonoforge serve current
# Environment: CURRENT (the link), RESTART (a command that restarts the service), URL (of its /health).
set -eu
new=${1:?give the folder of a bundle}
current=${CURRENT:-current}
restart=${RESTART:-systemctl restart sonoforge}
url=${URL:-http://127.0.0.1:8765/health}

point_to() { # renaming a link over a link is one step: no reader ever finds none
  ln -sfn "$1" "$current.next"
  mv -T "$current.next" "$current"
}

answers_with() { # the service runs, and with this bundle's network
  hash=$(sha256sum "$1/model.onnx" | cut -d' ' -f1)
  for _ in $(seq 60); do
    if curl -fsS --max-time 5 "$url" 2>/dev/null | grep -q "$hash"; then return 0; fi
    sleep 0.5
  done
  return 1
}

new=$(readlink -e "$new") || { echo "$1: no such folder; $current stays as it is" >&2; exit 1; }
sonoforge verify "$new" || { echo "$new: not verified; $current stays as it is" >&2; exit 1; }
old=$(readlink -e "$current" || true)
point_to "$new"
if $restart && answers_with "$new"; then
  echo "$current is $new; before: ${old:-none}"
  exit 0
fi
echo "$new: the service does not answer with it; going back to ${old:-nothing}" >&2
[ -n "$old" ] || { rm "$current"; exit 1; }
point_to "$old"
$restart && answers_with "$old"
exit 1
