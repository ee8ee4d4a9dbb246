# Replaces the running containers without a failed request. Sourced after docker/verbs/stack.sh.
# shellcheck shell=bash

# Service by service, so that Compose replaces only what has changed. Never with --no-deps: it leaves the dependencies
# out of a container's configuration hash, and a later `docker compose up` would replace the container for that.
roll() {
  local service
  for service in db mailhog mailguard; do
    if has_service "$service"; then start_if_outdated "$service"; fi
  done
  run_once migrate # and what it depends on: init, roles
  roll_web
  start_if_outdated nginx
  for service in acme prometheus; do
    if has_service "$service"; then start_if_outdated "$service"; fi
  done
}

roll_web() {
  local all=() old=() wanted kept
  front=$(project_name)_front
  trap remove_unreachable EXIT
  remove_unreachable
  mapfile -t old < <(outdated_containers web)
  mapfile -t all < <(web_containers)
  wanted=$(setting_of WEB_REPLICAS 1)
  kept=$((${#all[@]} - ${#old[@]}))
  if ((kept < wanted)); then add_web "${#all[@]}" $((wanted - kept)); fi
  if ((kept > wanted)); then
    mapfile -t -O "${#old[@]}" old < <(printf '%s\n' "${all[@]}" | grep -vxFf <(printf '%s\n' "${old[@]:-none}") |
      head -n $((kept - wanted)))
  fi
  if ((${#old[@]})); then step "Draining the old web containers" drain "${old[@]}" || exit 1; fi
}

# Web containers that nginx cannot reach: those of a failed update, and stopped ones, which Compose would start again.
remove_unreachable() {
  local unreachable
  mapfile -t unreachable < <(comm -23 <(containers_of web --all | sort) \
    <(docker ps --quiet --no-trunc --filter "network=$front" | sort))
  if ((${#unreachable[@]})); then docker rm --force "${unreachable[@]}" >/dev/null; fi
}

add_web() { # HOW_MANY_THERE_ARE HOW_MANY_MORE
  local new
  step "Creating the new web containers" docker compose up --no-start --no-build --no-recreate \
    --scale "web=$(($1 + $2))" web || exit 1
  mapfile -t new < <(containers_of web --all --filter status=created)
  step "Starting the new web containers" start_without_traffic "${new[@]}" && return
  _explain_services
  die "The new web containers are not healthy and will be removed; the old ones keep running." \
    "Fix the error at the end of the log above, and run make up again."
}

start_without_traffic() { # CONTAINER...: nginx uses all containers with the name web; these get it once they are healthy
  local container
  for container; do docker network disconnect "$front" "$container" || return; done
  docker start "$@" >/dev/null || return
  for container; do becomes_healthy "$container" || return; done
  for container; do docker network connect --alias web "$front" "$container" || return; done
}

becomes_healthy() { # CONTAINER: returns 1 as soon as it has failed
  local deadline=$((SECONDS + START_TIMEOUT))
  while ((SECONDS < deadline)); do
    case $(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$1") in
      "running healthy") return ;;
      "running starting") sleep 0.2 ;;
      *) return 1 ;;
    esac
  done
  return 1
}

start_if_outdated() { # SERVICE
  if [[ -n $(outdated_containers "$1") || -z $(containers_of "$1" --filter status=running) ]]; then
    start_stack --force-recreate "$1"
  fi
}

# Containers with an outdated image, configuration or secrets, and those that do not become healthy.
outdated_containers() { # SERVICE
  local container name image now hash wanted
  wanted=$(config_hash "$1")
  for container in $(containers_of "$1"); do
    read -r name image hash < <(docker inspect --format \
      '{{.Config.Image}} {{.Image}} {{index .Config.Labels "com.docker.compose.config-hash"}}' "$container")
    now=$(docker image inspect --format '{{.Id}}' "$name" 2>/dev/null) || now=
    if [[ $image != "$now" || $hash != "$wanted" ]] || has_old_secrets "$1" "$container" ||
      ! becomes_healthy "$container"; then
      printf '%s\n' "$container"
    fi
  done
}

has_old_secrets() { # SERVICE CONTAINER: these read secrets only at startup
  [[ $1 == web || $1 == watch ]] || return 1
  local started
  started=$(docker inspect --format '{{.State.StartedAt}}' "$2")
  [[ -n $(docker exec "$2" find /run/secrets -type f -newermt "$started" 2>/dev/null) ]]
}

drain() { # CONTAINER...: they finish their requests, while nginx uses the others
  # nginx caches addresses for one whole second, so it can take two seconds until it uses the new containers.
  sleep 2.5 && docker stop "$@" && docker rm "$@"
}
