#!/usr/bin/env bash
# Creates the database cluster on the first start, with the settings of the official image, and then runs the server.
set -euo pipefail

main() {
  if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
  if [[ ${1:-} != postgres || ${2:-} =~ ^(-V|--version|--help)$ ]]; then exec "$@"; fi
  if ((EUID == 0)); then become_postgres "$@"; fi
  if [[ ! -s $PGDATA/PG_VERSION ]]; then initialise "${@:2}"; fi
  exec "$@"
}

fail() {
  printf 'docker-entrypoint.sh: %s\n' "$*" >&2
  exit 1
}

become_postgres() { # after making it the owner of its folders, which may be mounts
  install -d -o postgres -g postgres -m 700 "$PGDATA"
  install -d -o postgres -g postgres -m 3775 /run/postgresql
  find "$PGDATA" ! -user postgres -exec chown postgres:postgres '{}' +
  exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
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
  unset POSTGRES_PASSWORD_FILE POSTGRES_USER_FILE POSTGRES_DB_FILE POSTGRES_INITDB_ARGS_FILE
  export POSTGRES_USER=$user POSTGRES_PASSWORD=$password POSTGRES_DB=$database PGPASSWORD=$password
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
  run_init_files
  pg_ctl -m fast -w stop
  trap - EXIT
  find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$home" '{}' +
  sync -f "$home" # after a power cut, the version file must not be the only file
  mv "$PGDATA/PG_VERSION" "$home/"
  rmdir "$PGDATA"
  export PGDATA=$home
  unset PGPASSWORD POSTGRES_PASSWORD # the server does not need them
}

clear_half_made() {
  if [[ -d $PGDATA/.new ]]; then
    find "$PGDATA" -mindepth 1 -delete
  elif [[ -n $(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit) ]]; then
    fail "$PGDATA is not empty, and no database cluster: mount an empty volume there."
  fi
}

run_init_files() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh)
        echo "docker-entrypoint.sh: running $file"
        # shellcheck disable=SC1090
        if [[ -x $file ]]; then "$file"; else . "$file"; fi
        ;;
      *.sql)
        echo "docker-entrypoint.sh: running $file"
        psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -f "$file"
        ;;
      */'*') ;;
      *) echo "docker-entrypoint.sh: ignoring $file" ;;
    esac
  done
}

main "$@"
