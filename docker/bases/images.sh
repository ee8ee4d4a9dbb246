# The base images: their settings, their names, and what is on this machine. Sourced.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=../settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/../settings.sh"

root=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..") # of the repository

# The places that name the official images are compose.yaml and compose.metrics.yaml: ${PYTHON_IMAGE:-python:…}
default_image() { # SETTING
  local image
  image=$(grep -ohE "\\$\{$1:-[^}]+\}" "$root/compose.yaml" "$root/compose.metrics.yaml" | head -n 1)
  image=${image#*:-}
  printf '%s\n' "${image%\}}"
}

has_prometheus() { # whether COMPOSE_FILE, from the environment or .env, adds it to the stack
  [[ ${COMPOSE_FILE:-$(setting_in_env_file COMPOSE_FILE)} == *compose.metrics.yaml* ]]
}

is_ours() { [[ $1 == microblog-base/* ]]; }

have_image() { docker image inspect --format '{{.Id}}' "$@" >/dev/null 2>&1; }
