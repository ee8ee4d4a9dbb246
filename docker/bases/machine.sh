# Passes this machine's mirrors, proxies and certificate authorities on to the builds. Sourced.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=../settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/../settings.sh"

# For the images of compose.yaml: BUILD_CA_FILE and BUILD_PIP_CONF, unless they are set.
use_build_settings() {
  local name
  for name in BUILD_CA_FILE BUILD_PIP_CONF; do
    if [[ -z ${!name:-} && -z $(setting_in_env_file "$name") ]]; then declare -gx "$name=$(build_setting "$name")"; fi
  done
}

build_setting() { # NAME: its value on this machine, or nothing
  case $1 in
    BUILD_CA_FILE) if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then echo /etc/ssl/certs/ca-certificates.crt; fi ;;
    BUILD_PIP_CONF) pip_conf ;;
  esac
}

pip_conf() { # the file with the index that this machine's pip uses, if it has one of its own
  local file=${env_file%/*}/.cache/pip.conf
  if [[ -n ${PIP_INDEX_URL:-} ]]; then
    mkdir -p "${file%/*}"
    (umask 077 && printf '[global]\nindex-url = %s\n' "$PIP_INDEX_URL" >"$file")
    printf '%s\n' "$file"
  else
    grep -lE '^[[:space:]]*index-url[[:space:]]*=' /etc/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf 2>/dev/null | tail -n 1
  fi
}

write_machine_settings() { # FOLDER: a file for each tool; they reach a build as secrets and end up in no image
  apt-config dump Acquire 2>/dev/null |
    grep -E '^Acquire::(https?::.*(Proxy|Timeout)|Check-(Valid-Until|Date)|Retries)' >"$1/apt.conf" || true
  go_settings >"$1/go.env"
  local authorities=${BUILD_CA_FILE:-$(setting_in_env_file BUILD_CA_FILE)}
  authorities=${authorities:-$(build_setting BUILD_CA_FILE)}
  cat "${authorities:-/dev/null}" >"$1/build_ca"
  cp "$1/apt.conf" "$1/apt-build.conf"
  if [[ -s $1/build_ca ]]; then echo 'Acquire::https::CAInfo "/run/secrets/build_ca";' >>"$1/apt-build.conf"; fi
}

proxy_arguments() { # those that docker build knows by itself: they are not recorded in the image
  local name
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [[ -n ${!name:-} ]]; then printf '%s\n' --build-arg "$name"; fi
  done
}

go_settings() { # from the environment, or as the machine's own go has them
  local name value
  for name in GOPROXY GOSUMDB GONOSUMDB GONOPROXY GOPRIVATE; do
    value=${!name:-$(go env "$name" 2>/dev/null || true)}
    if [[ -n $value ]]; then printf '%s=%s\n' "$name" "$value"; fi
  done
}
