# How `make logs` reads the log of all nodes. Sourced by docker/verbs/logs.
# shellcheck shell=bash

project=$(project_name)

read_log() { # [--request ID]
  if [[ ${1:-} == --request ]]; then
    deploy/swarm/request-log "$project" "$2" | grep .
  else
    docker service logs --follow --raw --tail 20 "${project}_web"
  fi
}

nginx_log() { python3 deploy/swarm/task_logs.py "${project}_nginx"; }
