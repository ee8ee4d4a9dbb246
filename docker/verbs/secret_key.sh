# Changes the secrets of a running stack with two rolling updates. Sourced after docker/verbs/stack.sh;
# switch_secret_key also needs docker/verbs/roll.sh.
# shellcheck shell=bash

rotation() { # STEP: runs a step of docker/rotation.py in the image init
  docker compose --progress quiet run --rm -T --no-deps init python3 rotation.py "$1" || exit 1
}

has_new_secret_key() { # whether the operator has written one to secrets/ that the running web containers do not have
  local web
  [[ -f secrets/secret_key && -r secrets/secret_key ]] || return 1
  web=$(web_containers | head -n 1)
  [[ -n $web && $(docker exec "$web" cat /run/secrets/secret_key) != "$(tr -d '\r' <secrets/secret_key)" ]]
}

switch_secret_key() { # after a rolling update: now every container accepts both keys, and signs with the old one
  rotation switch
  roll_web # now every container signs with the new one
}

say_rotated() {
  say "The secrets are rotated. Sessions that the old secret key has signed stay valid until the next rotation:" \
    "to end them too, run make rotate-secrets again, in a day or so."
  say_what_is_lost
}

say_what_is_lost() { # in apps other than the demo, which accepts the earlier key everywhere
  [[ -n $(setting_of APP_DIR '') ]] || return 0
  say "In your app, sessions stay valid with Flask 3.1 or later. Flask-Login's remember cookies and Flask-WTF's tokens" \
    "in open forms are signed with the old key, and no longer accepted."
}
