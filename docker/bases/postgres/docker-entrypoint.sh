#!/usr/bin/env bash
# Creates the database cluster on the first start, with the settings of the official image, and then runs the server.
set -euo pipefail

main() {
  if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
  if [[ ${1:-} != postgres || ${2:-} =~ ^(-V|--version|--help)$ ]]; then exec "$@"; fi
  if [[ ! -s $PGDATA/PG_VERSION ]]; then initialise "${@:2}"; fi
  exec "$@"
}

fail() {
  printf 'docker-entrypoint.sh: %s\n' "$*" >&2
  exit 1
}

setting() { # NAME DEFAULT: the value of NAME, or what is in the file that NAME_FILE names
  local file=$1_FILE
  if [[ -n ${!1:-} && -n ${!file:-} ]]; then fail "$1 and $file are both set: set one of them."; fi
  if [[ -z ${!file:-} ]]; then
    printf '%s' "${!1:-$2}"
  elif [[ -r ${!file} ]]; then
    printf '%s' "$(<"${!file}")"
  else
    fail "$file names ${!file}, which uid $EUID cannot read."
  fi
}

# Everything is created in a folder inside PGDATA and moved up at the end, the version file last: if the container is
# killed during its first start, the next start begins again instead of serving an incomplete cluster.
initialise() { # SERVER_ARGUMENT...
  local home=$PGDATA user password database arguments
  user=$(setting POSTGRES_USER postgres)
  password=$(setting POSTGRES_PASSWORD '')
  database=$(setting POSTGRES_DB "$user")
  arguments=$(setting POSTGRES_INITDB_ARGS '')
  [[ -n $password ]] || fail "Set POSTGRES_PASSWORD, or POSTGRES_PASSWORD_FILE, to the superuser's password."
  clear_half_made
  chmod 700 "$PGDATA"
  export PGDATA=$home/.new
  # Without quotes: the arguments are several words.
  # shellcheck disable=SC2086
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") --auth=trust $arguments
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  trap 'pg_ctl -m immediate stop >/dev/null 2>&1 || true' EXIT
  # On the socket only: no client can connect before the database is ready.
  pg_ctl -w start -o "$(printf '%q ' "$@" -c listen_addresses=)"
  if [[ $database != postgres ]]; then
    psql -v ON_ERROR_STOP=1 --username "$user" --dbname postgres -v name="$database" <<<'CREATE DATABASE :"name";'
  fi
  pg_ctl -m fast -w stop
  trap - EXIT
  find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$home" '{}' +
  sync -f "$home" # after a power cut, the version file must not be the only file
  mv "$PGDATA/PG_VERSION" "$home/"
  rmdir "$PGDATA"
  export PGDATA=$home
}

clear_half_made() {
  if [[ -d $PGDATA/.new ]]; then
    find "$PGDATA" -mindepth 1 -delete
  elif [[ -n $(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit) ]]; then
    fail "$PGDATA is not empty, but holds no database cluster: mount an empty volume there."
  fi
}

main "$@"
