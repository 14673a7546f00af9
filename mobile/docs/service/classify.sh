#!/bin/sh
# classify.sh SCAN...: print each answer as one line of JSON; wait as told when the queue is full.
for scan; do
  curl --silent --show-error --fail-with-body --retry 10 --retry-connrefused --data-binary "@$scan" \
    --url-query "name=$(basename "$scan")" "${SONOFORGE:-http://localhost:8765}/classify" || exit 1
  echo
done
