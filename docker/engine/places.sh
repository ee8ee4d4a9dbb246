# The paths of our engine, and checks of what is running. Sourced.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by those that source this

ENGINE_ROOT=/opt/microblog-engine     # programs, unpacked from packages; used by nothing else on the machine
ENGINE_DATA=/var/lib/microblog-engine # images, containers, volumes
ENGINE_RUN=/run/microblog-engine      # pid file, lock, and dockerd's own state
ENGINE_LOG=/var/log/microblog-engine.log
ENGINE_PIDFILE=$ENGINE_RUN/docker.pid
ENGINE_SOCKET=/var/run/docker.sock # the default, so that `docker` needs no setting
ENGINE_LINKS=/usr/local/bin        # for links to the client, if the system has none
ENGINE_PLUGINS=/usr/local/lib/docker/cli-plugins
ENGINE_OLDEST=25 # the first with healthcheck.start_interval
PYTHON_OLDEST=3.10 # of this machine, for the commands in docker/verbs; the images have their own

python_is_too_old() { ! python3 -c "import sys; sys.exit(sys.version_info < (${PYTHON_OLDEST/./, }))"; }
engine_version() { docker version --format '{{.Server.Version}}' 2>/dev/null; }
compose_works() { docker compose version >/dev/null 2>&1; }
buildx_works() { docker buildx version >/dev/null 2>&1; }

our_engine_pid() { # the pid in our file, if that process is a dockerd that was started with this file
  local pid
  pid=$(cat "$ENGINE_PIDFILE" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "--pidfile=$ENGINE_PIDFILE" || return 1
  printf '%s\n' "$pid"
}

lock_engine() { # one start or stop at a time; file descriptor 9 must not reach what outlives us
  mkdir -p "$ENGINE_RUN"
  exec 9>"$ENGINE_RUN/lock"
  flock -w 300 9 || die "Another start or stop of the engine has held $ENGINE_RUN/lock for five minutes." \
    "See what it waits for (\`fuser $ENGINE_RUN/lock\`), end it and try again."
}

system_name() { # "debian 12", "debian 13", "ubuntu 24.04", "debian" for testing; a name alone for the rest
  # shellcheck disable=SC1091
  (. /etc/os-release 2>/dev/null && printf '%s\n' "${ID:-unknown}${VERSION_ID:+ $VERSION_ID}") || uname -s
}
