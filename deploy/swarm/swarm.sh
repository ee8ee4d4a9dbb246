# The swarm itself: creates one where there is none, and leaves one that it has created. Sourced after
# docker/verbs/stack.sh. The variable `drills` says whether drills are on.
# shellcheck shell=bash
# shellcheck disable=SC2154

MADE_LABEL=mayday.swarm # of a node whose swarm `make swarm-up` has created
BRIDGE=docker_gwbridge  # the network of each node through which containers reach the outside and ports are published
BINDING=com.docker.network.bridge.host_binding_ipv4

join_or_create_swarm() {
  case $(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}') in
    "inactive false")
      [[ $(setting_of SWARM '') != existing ]] || die "SWARM is 'existing', and this engine is in no swarm." \
        "Join one first, or leave SWARM empty: then make swarm-up creates one."
      step "Creating a swarm" create_swarm || exit 1
      ;;
    "active true")
      is_our_swarm || [[ $(setting_of SWARM '') == existing ]] || die "This engine is in a swarm that make swarm-up did not create." \
        "Nothing was changed. To run the stack in it, set SWARM=existing."
      ;;
    "active false") die "This engine is a worker of a swarm." "Run make swarm-up on a manager: docker node ls" ;;
    *) die "This engine's swarm cannot be used: $(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.Error}}')" ;;
  esac
}

# A swarm cannot publish a port on one address, but its bridge can. With drills the site is for this machine only.
wanted_binding() { if [[ $drills == 1 ]]; then echo 127.0.0.1; else echo 0.0.0.0; fi; }

check_binding() {
  local binding
  binding=$(docker network inspect --format "{{index .Options \"$BINDING\"}}" "$BRIDGE" 2>/dev/null) || return 0
  [[ ${binding:-0.0.0.0} == "$(wanted_binding)" ]] || die \
    "DRILL is '$DRILL', but the network $BRIDGE publishes ports on ${binding:-all addresses}." \
    "With drills they must be on 127.0.0.1, without drills on all addresses. Run make swarm-down, and docker network rm" \
    "$BRIDGE if that network is still there; or change DRILL."
}

create_swarm() {
  local address
  address=$(setting_of SWARM_ADDR 127.0.0.1)
  if ! docker network inspect "$BRIDGE" >/dev/null 2>&1; then
    # As Docker makes it, and with a label, so that `make swarm-down` can remove it again.
    docker network create --driver bridge --label "$MADE_LABEL=made" --opt com.docker.network.bridge.name=$BRIDGE \
      --opt com.docker.network.bridge.enable_icc=false --opt com.docker.network.bridge.enable_ip_masquerade=true \
      --opt "$BINDING=$(wanted_binding)" \
      $BRIDGE || return
  fi
  # Its output holds the token with which others can join.
  docker swarm init --advertise-addr "$address" --listen-addr "$address" >/dev/null || return
  label_this_node "$MADE_LABEL=made" || { docker swarm leave --force && return 1; }
}

label_this_node() { docker node update --label-add "$1" "$(docker info --format '{{.Swarm.NodeID}}')" >/dev/null; } # LABEL

is_our_swarm() { [[ $(docker node inspect --format "{{index .Spec.Labels \"$MADE_LABEL\"}}" self 2>/dev/null) == made ]]; }

leave_swarm() { # only one that `make swarm-up` has created and that nobody uses
  if ! is_our_swarm; then return; fi
  if [[ -n $(docker service ls --quiet) || $(nodes_count) != 1 ]]; then
    say "The swarm stays: it has other services or nodes."
    return
  fi
  step "Leaving the swarm" _leave_swarm || exit 1
}

_leave_swarm() {
  docker swarm leave --force &&
    docker network ls --quiet --filter "name=^$BRIDGE\$" --filter "label=$MADE_LABEL=made" |
    xargs --no-run-if-empty docker network rm
}

nodes_count() { docker node ls --quiet | wc -l; }

label_nodes() { # PROJECT: this node gets the roles that no node has
  local role
  for role in db edge; do
    if [[ -z $(docker node ls --quiet --filter "node.label=mayday.$1.$role=true") ]]; then
      label_this_node "mayday.$1.$role=true" || return
      say "  This node is now the $role node: label mayday.$1.$role=true"
    fi
  done
}
