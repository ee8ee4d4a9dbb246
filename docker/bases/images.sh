# The four base images: settings, names, and whether they are on this machine. Sourced.
# shellcheck shell=bash

root=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..") # of the repository

# The official images are named in compose.yaml only: ${PYTHON_IMAGE:-python:…}
default_image() { # SETTING
  local image
  image=$(grep -oE "\\$\{$1:-[^}]+\}" "$root/compose.yaml" | head -n 1)
  image=${image#*:-}
  printf '%s\n' "${image%\}}"
}

image_in_env_file() { # SETTING: as compose reads it; the last line wins
  sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*[\"']?([^\"'[:space:]]*).*/\2/p" \
    "$root/.env" 2>/dev/null | tail -n 1
}

is_ours() { [[ $1 == microblog-base/* ]]; }

have_image() { docker image inspect --format '{{.Id}}' "$@" >/dev/null 2>&1; }

remember_image() { # SETTING IMAGE: sets its line in .env and keeps the others; replaces the file atomically
  local file=$root/.env line="^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=.*" new
  [[ $(image_in_env_file "$1") != "$2" ]] || return 0
  file=$(readlink -f "$file")
  new=$(mktemp "$file.XXXXXX") || die "$file cannot be written." "Run this as the owner of ${file%/*}, or put $1=$2 there."
  if [[ -e $file ]]; then
    cp -p "$file" "$new"
  else
    chmod 644 "$new"
    chown --reference="$root" "$new" 2>/dev/null || true # root may run make in another user's checkout
  fi
  if grep -qE "$line" "$new"; then
    sed -i -E "s|$line|$1=$2|" "$new"
  else
    if [[ -n $(tail -c 1 "$new") ]]; then echo >>"$new"; fi # the last line had no newline
    printf '%s=%s\n' "$1" "$2" >>"$new"
  fi
  mv -f "$new" "$file"
}
