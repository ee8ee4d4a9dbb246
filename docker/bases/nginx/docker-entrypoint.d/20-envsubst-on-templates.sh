#!/bin/sh
# Makes /etc/nginx/conf.d/NAME of each /etc/nginx/templates/NAME.template: ${VARIABLES} that exist in the environment
# and match NGINX_ENVSUBST_FILTER (a regular expression) are replaced, nginx's own stay.
set -eu

from=/etc/nginx/templates
to=/etc/nginx/conf.d

# shellcheck disable=SC2016  # envsubst expects the names with dollar signs
names=$(awk -v filter="${NGINX_ENVSUBST_FILTER:-}" \
  'BEGIN { for (name in ENVIRON) if (name ~ /^[A-Za-z_][A-Za-z0-9_]*$/ && name ~ filter) printf "${%s} ", name }')

find "$from" -follow -type f -name '*.template' | while read -r template; do
  target=$to/${template#"$from/"}
  target=${target%.template}
  mkdir -p "$(dirname "$target")"
  envsubst "$names" <"$template" >"$target"
done
