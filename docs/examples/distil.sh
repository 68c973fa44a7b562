#!/usr/bin/env bash
# Distil in a pipeline: distil.sh SPEC STUDENT
#
# Posts the job in the file SPEC, follows it to its end, and leaves the student's ONNX file as
# STUDENT. Ends with 1 where the job fails, or where its student is not surely better than the same
# one trained without a teacher, which the job trains unless it says `"baseline": false`. Reads STILLHOUSE_URL, STILLHOUSE_API_KEY and, so that a pipeline
# that is run again does not make a second job, STILLHOUSE_RUN.
set -euo pipefail
spec=$1 student=$2
jobs="$STILLHOUSE_URL/v1/distillation/jobs"

api() {
  curl -sS --fail-with-body --retry 10 --retry-connrefused --max-time 120 \
    -H "Authorization: Bearer $STILLHOUSE_API_KEY" "$@"
}
# read_json EXPRESSION: of the JSON `it` on standard input
read_json() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

digest=$(sha256sum "$spec" | cut -c 1-16)
body=$(api "$jobs" -H "Idempotency-Key: ${STILLHOUSE_RUN:-$(date +%s%N)}-$digest" --json "@$spec") ||
  { echo "$body" >&2; exit 1; }
job=$(read_json 'it["id"]' <<< "$body")
echo "$jobs/$job"

tag=$(mktemp)
trap 'rm -f "$tag"' EXIT
status=queued
while :; do
  case $status in queued | running | paused) ;; *) break ;; esac
  # Answered when something has changed, and without a body where nothing has for a minute.
  now=$(api "$jobs/$job?wait=60" --etag-compare "$tag" --etag-save "$tag")
  [ -n "$now" ] || continue
  body=$now
  status=$(read_json 'it["status"]' <<< "$body")
  read_json '"{status}: {phase}".format(**it)' <<< "$body"
done
if [ "$status" != succeeded ]; then
  read_json '"{message} {hint}".format(**it["error"] or {"message": "", "hint": ""})' <<< "$body" >&2
  exit 1
fi

file="$jobs/$job/files/student/onnx/model.onnx"
api -L -o "$student" "$file"
sha256=$(api -I "$file" | tr -d '\r"' | awk 'tolower($1) == "etag:" {print $2}')
echo "$sha256  $student" | sha256sum --check
read_json '"gain {gain}, between {gain_interval[low]} and {gain_interval[high]}".format(**it["result"])' <<< "$body"
read_json 'sys.exit(it["result"]["gain_interval"]["low"] <= 0 and "that may be chance, or no gain at all")' <<< "$body"
