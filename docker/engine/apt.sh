# Installs missing packages with the machine's apt, and downloads packages of other releases. Sourced.
# shellcheck shell=bash
# shellcheck disable=SC2016  # $(NAME) is for apt to fill in

apt_install() { # PACKAGE...
  export DEBIAN_FRONTEND=noninteractive
  apt_lists_exist || _apt_update
  if _apt_install "$@"; then return; fi
  _apt_update # old lists name versions that are gone
  _apt_install "$@"
}

# The exit status of apt-get is ignored, because one broken third-party source makes it fail. It does not wait for the
# lock of the package lists, so this function does.
_apt_update() {
  local output end=$((SECONDS + 120))
  until output=$(apt-get -q update 2>&1) || [[ $output != *'Could not get lock'* ]] || ((SECONDS >= end)); do
    sleep 1
  done
  printf '%s\n' "$output"
}

_apt_install() { apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"; }

# The package lists show which mirrors this machine uses. Debian 12's first keyring has no keys for Debian 13.
apt_ready() { apt_lists_exist && { [[ -e $_trixie_key ]] || ! grep -qs '^ID=debian' /etc/os-release; }; }

apt_make_ready() {
  apt_lists_exist || _apt_update
  apt_ready || apt_install debian-archive-keyring
}

_trixie_key=/usr/share/keyrings/debian-archive-trixie-automatic.gpg

apt_lists_exist() { compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; }

# Prints lines for sources.list for RELEASE of Debian (trixie) and its security suite, on the mirrors that this machine
# uses.
debian_sources() { # RELEASE
  local mirror security key=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(_mirrors Debian '$(LABEL) $(REPO_URI)' | sed -n 's/^Debian //p' | head -n 1)
  security=$(_mirrors Debian '$(LABEL) $(REPO_URI)' | sed -n 's/^Debian-Security //p' | head -n 1)
  [[ -n $mirror ]] || return 1
  printf 'deb [signed-by=%s] %s %s main\n' "$key" "$mirror" "$1"
  if [[ -n $security ]]; then printf 'deb [signed-by=%s] %s %s-security main\n' "$key" "$security" "$1"; fi
}

ubuntu_sources() { # the machine's own release, as its own sources name it
  _mirrors Ubuntu 'deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] $(REPO_URI) $(SUITE) $(COMPONENT)' |
    grep -E ' (main|universe)$' | sort -u
}

_mirrors() { apt-get indextargets --format "$2" 'Identifier: Packages' "Origin: $1"; } # ORIGIN FORMAT

# Runs apt-get with separate sources and state in FOLDER, and with the machine's proxies and other settings.
apt_beside() { # FOLDER APT_GET_ARGUMENT...
  local folder=$1
  shift
  mkdir -p "$folder/state/lists/partial" "$folder/cache/archives/partial"
  apt-get -q -o Dir::State="$folder/state" -o Dir::Cache="$folder/cache" -o Dir::Etc::SourceParts=- \
    -o Dir::Etc::SourceList="$folder/sources.list" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
