# Packages through the machine's own apt: what is missing is installed, other releases are read beside it. Sourced.
# shellcheck shell=bash

apt_install() { # PACKAGE...
  export DEBIAN_FRONTEND=noninteractive
  apt_lists_exist || apt-get -q update || true # a broken third-party source is no reason to stop
  _apt_install "$@" || { apt-get -q update; _apt_install "$@"; } # old lists name versions that are gone
}

_apt_install() { apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"; }

apt_lists_exist() { compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; }

# Lines for sources.list that name RELEASE of Debian (trixie) and its security suite on the mirrors that this machine
# itself uses, whatever release it runs.
debian_sources() { # RELEASE
  local key mirror security
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(_debian_mirror Debian)
  security=$(_debian_mirror Debian-Security)
  [[ -n $mirror ]] || return 1
  printf 'deb [signed-by=%s] %s %s main\n' "$key" "$mirror" "$1"
  if [[ -n $security ]]; then printf 'deb [signed-by=%s] %s %s-security main\n' "$key" "$security" "$1"; fi
}

_debian_mirror() { # LABEL of the archive, as its Release file has it
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Identifier: Packages' 'Origin: Debian' |
    sed -n "s/^$1 //p" | head -n 1
}

# apt-get with sources and state of its own in FOLDER, and the machine's proxies and other settings.
apt_beside() { # FOLDER APT_GET_ARGUMENT...
  local folder=$1
  shift
  mkdir -p "$folder/state/lists/partial" "$folder/cache/archives/partial"
  apt-get -q -o Dir::State="$folder/state" -o Dir::Cache="$folder/cache" -o Dir::Etc::SourceParts=- \
    -o Dir::Etc::SourceList="$folder/sources.list" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
