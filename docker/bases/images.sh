# The four base images: their settings, their names, and what is on this machine. Sourced.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=../settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/../settings.sh"

root=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..") # of the repository

# The one place that names the official images is compose.yaml: ${PYTHON_IMAGE:-python:…}
default_image() { # SETTING
  local image
  image=$(grep -oE "\\$\{$1:-[^}]+\}" "$root/compose.yaml" | head -n 1)
  image=${image#*:-}
  printf '%s\n' "${image%\}}"
}

is_ours() { [[ $1 == microblog-base/* ]]; }

have_image() { docker image inspect --format '{{.Id}}' "$@" >/dev/null 2>&1; }
