#!/bin/sh
# Runs the files of /docker-entrypoint.d (*.envsh are sourced, *.sh are run), then the command.
set -eu

if [ "${1:-}" = nginx ]; then
  for file in /docker-entrypoint.d/*; do
    case $file in
      *.envsh)
        # shellcheck disable=SC1090
        . "$file"
        ;;
      *.sh) "$file" ;;
    esac
  done
fi
exec "$@"
