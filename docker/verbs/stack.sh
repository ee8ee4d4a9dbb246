# Functions for the running stack that several commands use. Sourced after docker/progress.sh.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=../bases/machine.sh
. docker/bases/machine.sh

use_build_settings # the commands that build images need them

START_TIMEOUT=180 # seconds

one_at_a_time() { # Compose gives the new containers of two runs the same names
  exec 9<docker/verbs/stack.sh
  flock -n 9 || { say "Another make command is changing this stack: waiting for it to end." && flock 9; }
}

start_stack() { # COMPOSE_UP_ARGUMENT...: waits until every service is healthy; otherwise prints which are not, and why
  local log services all=()
  log=$(mktemp)
  services=$(printf '%s\n' "$@" | grep -xE '[a-z]+' | paste --serial --delimiters ' ') || true
  if [[ -z $services ]]; then mapfile -t all < <(service_names | grep -vx watch); fi
  if step "Starting ${services:-the stack}" _compose_up "$log" "$@" "${all[@]}"; then
    rm -f "$log"
    return
  fi
  _explain_port "$log"
  _explain_services
  rm -f "$log"
  exit 1
}

start_watch() { # after everything else: the site works without it
  (start_if_outdated watch) ||
    warn "The service watch does not run: no mail is sent when the site does not answer." "Its log: docker compose logs watch"
}

run_once() { # SERVICE: a one-shot service; it must exit with status 0
  step "Running $1" _run_to_end "$1" && return
  _explain_services
  exit 1
}

_run_to_end() { # SERVICE
  docker compose up --detach --no-build "$1" &&
    [[ $(docker wait "$(containers_of "$1" --all)") == 0 ]]
}

_compose_up() { # LOG COMPOSE_UP_ARGUMENT...: prints Compose's messages if it fails
  local log=$1 status=0
  shift
  docker compose up --detach --no-build --remove-orphans --wait --wait-timeout "$START_TIMEOUT" "$@" \
    >"$log" 2>&1 || status=$?
  ((status == 0)) || grep -v ' \(Creating\|Created\|Starting\|Started\|Waiting\|Running\)' "$log" || true
  return "$status"
}

# Compose takes a fifth of a second of CPU time to read its files, and a command asks it dozens of times. Call this once
# the settings are checked, and after the last change to a variable that compose.yaml reads.
remember_model() {
  known_services=$(service_names)
  known_hashes=$(docker compose config --hash '*')
  known_project=$(project_name)
}

project_name() {
  if [[ -n ${known_project:-} ]]; then
    say "$known_project"
  else
    docker compose config --format json | sed -n 's/^  "name": "\(.*\)",$/\1/p'
  fi
}

service_names() { if [[ -n ${known_services:-} ]]; then say "$known_services"; else docker compose config --services; fi; }

config_hash() { # SERVICE: of its configuration, as in the labels of its containers
  if [[ -n ${known_hashes:-} ]]; then say "$known_hashes"; else docker compose config --hash "$1"; fi |
    sed -n "s/^$1 //p"
}

containers_of() { # SERVICE DOCKER_PS_ARGUMENT...: without those of `docker compose run`
  docker ps --quiet --no-trunc --filter "label=com.docker.compose.project=$(project_name)" \
    --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False "${@:2}"
}

web_containers() { containers_of web --filter status=running; } # those that serve requests

on_swarm() { # whether the stack runs on the swarm of this engine
  [[ $(docker info --format '{{.Swarm.ControlAvailable}}' 2>/dev/null) == true ]] &&
    [[ -n $(docker service ls --quiet --filter "label=com.docker.stack.namespace=$(project_name)") ]]
}

refuse_swarm() { # WHAT_TO_USE_INSTEAD: for commands of a stack that Compose runs
  if on_swarm; then die "The stack $(project_name) runs on a swarm. Nothing was changed." "$1"; fi
}

in_db() { # COMMAND...: in the database's container
  local container
  if ! on_swarm; then
    docker compose exec -T db "$@"
    return
  fi
  container=$(docker ps --quiet --filter "label=com.docker.swarm.service.name=$(project_name)_db")
  [[ -n $container ]] || die "The database does not run on this node." "Run this on the node that has it: make ps"
  docker exec --interactive "$container" "$@"
}

# Removes the networks from the model: Compose would make all of them, and those of a swarm have the same names.
run_alone() { # SERVICE COMMAND...: a service that has no network, in a container of its own; keeps the standard input
  local model status=0
  model=$(mktemp)
  docker compose --profile '*' config --format json "$1" |
    python3 -c 'import json, sys; model = json.load(sys.stdin); del model["networks"]; json.dump(model, sys.stdout)' >"$model" &&
    docker compose --project-directory . --file "$model" --progress quiet run --rm --no-deps -T "$@" || status=$?
  rm -f "$model"
  return "$status"
}

has_volumes() { docker volume inspect "$(project_name)_secrets" >/dev/null 2>&1; }

has_service() { service_names | grep -xF "$1" >/dev/null; } # -q would end the pipe early

app_name() { # of the running app: Microblog, or APP
  if [[ -n $(setting_of APP_DIR '') ]]; then setting_of APP ''; else say Microblog; fi
}

_explain_port() { # LOG
  local address port setting=HTTP_PORT
  address=$(grep -oE '(Bind for|listen tcp[46]?) [^ ]*:[0-9]+' "$1" | head -n 1) || return 0
  address=${address##* } port=${address##*:}
  if grep -q 'cannot assign requested address' "$1"; then
    die "This machine has no address ${address%:*}." "Set HTTP_BIND in .env to one that it has: ip address"
  fi
  if [[ $port != "$(setting_of HTTP_PORT 8080)" ]]; then # the unused default of another setting may be the same
    if [[ $port == "$(setting_of HTTPS_PORT "$(default_https_port)")" ]]; then setting=HTTPS_PORT; fi
    if [[ $port == "$(setting_of MAILHOG_PORT 8025)" ]]; then setting=MAILHOG_PORT; fi
    if [[ $port == "$(setting_of PROMETHEUS_PORT 9090)" ]]; then setting=PROMETHEUS_PORT; fi
  fi
  die "Port $port is taken by another program." "Choose another: write $setting=<port> into .env, and run this again."
}

release() { # the version of the app's code, where its folder is a git repository
  local value
  value=$(setting_of RELEASE '')
  [[ -n $value ]] || value=$(git -C "$(setting_of APP_DIR .)" describe --always --dirty --tags 2>/dev/null) || true
  printf '%s\n' "$value"
}

setting_of() { # NAME DEFAULT: as Compose sees it
  local model='services: {x: {image: x, environment: {V: "%s"}}}' value
  # shellcheck disable=SC2059
  value=$(printf "name: x\n$model" "\${$1:-$2}" | docker compose --file - config |
    sed -nE "s/^      V: (.*)/\1/p")
  value=${value#[\"\']} value=${value%[\"\']}
  printf '%s\n' "${value//\$\$/\$}"
}

_explain_services() { # the last lines of each container that failed
  local container state health exit_code
  while IFS='|' read -r container state health exit_code; do
    case "$state $health $exit_code" in
      "running healthy "* | "running  "* | "exited  0" | "created "*) continue ;;
    esac
    warn "$container is $state${health:+, $health}$( ((exit_code)) && printf ', exit status %s' "$exit_code")." \
      "The end of its log:"
    docker logs --tail 30 "$container" 2>&1 | sed 's/^/    /' >&2
  done < <(docker compose ps --all --format '{{.Name}}|{{.State}}|{{.Health}}|{{.ExitCode}}')
}

address_of() { python3 docker/verbs/addresses.py "$@"; } # SERVICE PORT: its URL on this machine

default_https_port() { if [[ -n $(setting_of DOMAIN '') ]]; then echo 443; else echo 8443; fi; }

default_bind() { if [[ -n $(setting_of DOMAIN '') ]]; then echo 0.0.0.0; else echo 127.0.0.1; fi; }

site_address() { # where visitors find the site: at DOMAIN, or on this machine
  local domain address
  domain=$(setting_of DOMAIN '')
  if [[ -z $domain && -z $(setting_of TLS '') ]]; then
    address_of nginx 8080
    return
  fi
  address=$(address_of nginx 8443)
  address=https://${domain:-127.0.0.1}:${address##*:}
  printf '%s\n' "${address%:443}"
}

addresses() {
  local app width
  say
  app=$(app_name)
  width=$((${#app} > 10 ? ${#app} : 10))
  _row "$app" "$(site_address)"
  if has_service mailguard; then _row Mails "$(address_of mailguard 8025)"; fi
  if has_service prometheus; then _row Metrics "$(address_of prometheus 9090)"; fi
  if web_owns_tables; then
    _row Database "web owns the tables, because the app has no migrations: docs/your-app.md#database"
  fi
  _row Log "make logs"
  _row "Check it" "make drill"
  if [[ $(setting_of HTTP_BIND "$(default_bind)") =~ ^(127\.|\[?::1) && $(setting_of TRUSTED_PROXIES 1) == 1 ]]; then
    _row Limits "not per client: on loopback, all clients have one address (docs/operations.md#limits)"
  elif shares_ipv6_addresses; then
    _row Limits "not per client over IPv6: Docker before 27 needs ip6tables (docs/operations.md#put-it-on-the-internet)"
  fi
  if has_service acme; then certificate_state; fi
}

shares_ipv6_addresses() { # all visitors over IPv6 have the gateway's address
  local version experimental
  [[ -n $(setting_of DOMAIN '') && $(setting_of IPV6 true) == true ]] || return 1
  read -r version experimental < <(docker version --format '{{.Server.Version}} {{.Server.Experimental}}')
  [[ $experimental == false && ${version%%.*} -lt 27 ]]
}

web_owns_tables() { # without migrations, the app has to create its tables itself
  local web
  [[ -n $(setting_of APP_DIR '') ]] && has_service db || return 1
  web=$(web_containers | head -n 1)
  [[ -n $web ]] && docker exec "$web" test -r /run/secrets/app_password
}

_row() { printf "  %-${width}s  %s\\n" "$1" "$2"; } # NAME VALUE: of the caller's table

certificate_state() { # says so if the first attempt to obtain a certificate has failed
  local failure
  failure=$(docker compose exec -T acme cat /tmp/outcome 2>/dev/null) || return 0
  if [[ -n $failure ]]; then
    warn "There is no certificate from the ACME authority yet, so browsers show a warning: $failure" \
      "The name must resolve to this machine, and port 80 must be reachable. The next attempts: docker compose logs acme"
  fi
}

# Services that ran with earlier settings: MailHog before DOMAIN was set, acme before TLS was changed.
stop_unwanted() {
  local service
  for service in mailguard mailhog acme; do
    if ! has_service "$service"; then docker compose --profile '*' rm --stop --force "$service" >/dev/null 2>&1; fi
  done
}

set_superuser_password() { # to the one in the volume; inside the container, where no password is needed
  step "Setting the database's passwords" docker compose exec -T db /opt/stack/roles superuser-password
}
