# Passes this machine's mirrors, proxies and certificate authorities on to the builds. Sourced.
# shellcheck shell=bash

write_machine_settings() { # FOLDER: a file for each tool; they reach a build as secrets and stay in no image
  apt-config dump Acquire 2>/dev/null |
    grep -E '^Acquire::(https?::.*(Proxy|Timeout)|Check-(Valid-Until|Date)|Retries)' >"$1/apt.conf" || true
  go_settings >"$1/go.env"
  pip_conf >"$1/pip.conf"
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

pip_conf() { # the system's certificates, and the index that this machine's pip asks
  local index
  index=${PIP_INDEX_URL:-$(sed -nE 's/^[[:space:]]*index-url[[:space:]]*=[[:space:]]*//p' \
    /etc/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf 2>/dev/null | tail -n 1 || true)}
  printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n'
  if [[ $index == *@* ]]; then
    warn "pip's index has credentials in its address: it is not written into the image."
  elif [[ -n $index ]]; then
    printf 'index-url = %s\n' "$index"
  fi
}
