# Makes the stack files and deploys them. Sourced after docker/verbs/stack.sh.
# shellcheck shell=bash
# The variable `project` is the stack's name; `drills` says whether drills are on.
# shellcheck disable=SC2154,SC2034

swarm_settings() { # what is different on a swarm; Compose reads it
  DRILL=$(setting_of DRILL 0) drills=0
  export DRILL
  # The site is then published on this machine only: swarm.sh.
  if [[ ${DRILL,,} =~ ^(1|true|yes|on)$ ]]; then drills=1 && export HTTP_BIND=127.0.0.1; fi
  if [[ $(setting_of DATABASE postgresql) == postgresql ]]; then export COURIERS_AGREE=1; fi
}

make_stages() { # FOLDER [running]: writes the stack files, and their list in the file stages; running: with the images that run, not those just built
  local folder=$1 edge_node=()
  # With drills: the only node whose ports swarm.sh has bound to 127.0.0.1.
  if ((drills)); then edge_node=("$(docker info --format '{{.Swarm.NodeID}}')"); fi
  docker compose config --format json >"$folder/model" &&
    python3 deploy/swarm/image_names.py "${@:2}" <"$folder/model" >"$folder/images" &&
    python3 deploy/swarm/secret_files.py "$project" >"$folder/secrets" &&
    python3 deploy/swarm/stack_file.py "$folder" "${edge_node[@]}" >"$folder/stages"
}

deploy_stages() { # FOLDER
  local file services
  while read -r -u 3 file services; do
    step "Running ${services// /, }" python3 deploy/swarm/deployment.py "$project" "$file" || exit 1
  done 3<"$1/stages"
}

remove_others() { # FOLDER: services that ran with earlier settings
  local unwanted
  mapfile -t unwanted < <(docker service ls --filter "label=com.docker.stack.namespace=$project" --format '{{.Name}}' |
    grep -vxFf <(cut -d ' ' -f 2- "$1/stages" | tr ' ' '\n' | sed "s/^/${project}_/"))
  if ((${#unwanted[@]})); then docker service rm "${unwanted[@]}" >/dev/null; fi
}

remove_old_secrets() { # those that no service uses any more
  docker secret ls --quiet --filter "label=microblog.stack.project=$project" |
    xargs --no-run-if-empty --max-args 1 docker secret rm >/dev/null 2>&1 || true
}
