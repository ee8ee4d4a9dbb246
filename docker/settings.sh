# Reads and writes settings in .env. Sourced after docker/progress.sh.
# shellcheck shell=bash

env_file=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")/.env

setting_in_env_file() { # NAME: as Compose reads it, except that ${VARIABLES} are not expanded; the last line wins
  local value
  value=$(sed -nE "s/\r$//; s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*[=:][[:space:]]*//p" "$env_file" 2>/dev/null | tail -n 1)
  case $value in
    \'*\'*) value=${value#\'} value=${value%%\'*} ;;
    \"*\"*) value=${value#\"} value=${value%%\"*} ;;
    *) value=$(sed -E 's/[[:space:]]#.*//; s/[[:space:]]+$//' <<<"$value") ;;
  esac
  printf '%s\n' "$value"
}

# Writes a setting to .env and keeps every other line. The new file is written beside the old one, so that an interrupt
# leaves one of them whole.
save_setting() { # NAME VALUE
  local file=$env_file new value=$2
  local pattern="^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*="
  if [[ ! $value =~ ^[A-Za-z0-9_./:@,+=~-]*$ ]]; then
    [[ $value != *"'"* ]] || die "$1 cannot be written to .env: it holds a single quote." "Write the line yourself."
    value="'$value'"
  fi
  if [[ -e $file ]]; then
    [[ $(grep -E "$pattern" "$file") != "$1=$value" ]] || return 0
    file=$(readlink -f "$file")
  fi
  new=$(mktemp "$file.XXXXXX") || die "$file cannot be written." "Run this as the owner of ${file%/*}, or put $1=$value there."
  if [[ -e $file ]]; then
    cp -p "$file" "$new"
  else
    chmod 644 "$new"
    chown --reference="${file%/*}" "$new" 2>/dev/null || true # root may run make in somebody's checkout
  fi
  _replace_line "$pattern" "$1=$value" <"$new" >"$new.lines"
  cat "$new.lines" >"$new" # keeps the mode and the owner
  rm -f "$new.lines"
  mv -f "$new" "$file"
}

_replace_line() { # PATTERN LINE: in the place of the first that matches, or at the end
  local line replaced=
  while IFS= read -r line || [[ -n $line ]]; do
    if [[ ! $line =~ $1 ]]; then
      printf '%s\n' "$line"
    elif [[ -z $replaced ]]; then
      printf '%s\n' "$2"
      replaced=1
    fi
  done
  if [[ -z $replaced ]]; then printf '%s\n' "$2"; fi
}
