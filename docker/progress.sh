# Functions that show the steps of a command with their times, and end it with an error and its fix. Sourced.
# shellcheck shell=bash

if ((BASH_VERSINFO[0] < 5)); then
  echo "error: bash 5 or later is needed; $BASH is $BASH_VERSION. Install a newer one and put it first in PATH." >&2
  exit 1
fi

_paint() { # FILE_DESCRIPTOR COLOUR TEXT: coloured on a terminal only, and never with NO_COLOR
  if [[ -t $1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    printf '\e[%sm%s\e[0m' "$2" "$3"
  else
    printf '%s' "$3"
  fi
}

say() { printf '%s\n' "$*"; }

note() { printf ' .. %s\n' "$*"; } # announces work that is not a step, because it may ask or warn

warn() { printf '%s %s\n' "$(_paint 2 33 'warning:')" "$*" >&2; }

die() { # WHAT_IS_WRONG WHAT_TO_DO...
  printf '%s %s\n' "$(_paint 2 31 'error:')" "$1" >&2
  shift
  if (($#)); then printf '       %s\n' "$@" >&2; fi
  exit 1
}

# A step runs in its own process group, so that an interrupt ends everything that it started. The caller's `set -e`
# does not apply in it: pass a script, or a function that chains its commands with &&.
_step_titles=() _step_pids=() _step_logs=() _step_starts=()
_step_old_traps=

step() { # TITLE COMMAND...
  step_start "$@"
  step_wait
}

step_start() { # TITLE COMMAND...: in the background; several may run until step_wait
  local log title=$1
  shift
  log=$(mktemp)
  if ((${#_step_pids[@]} == 0)); then
    _step_old_traps=$(trap -p INT TERM HUP)
    trap '_step_interrupt INT' INT
    trap '_step_interrupt TERM' TERM
    trap '_step_interrupt HUP' HUP
  fi
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  set +m
  _step_pids+=("$!") _step_titles+=("$title") _step_logs+=("$log") _step_starts+=("$(_now)")
  if [[ ! -t 1 ]]; then say " .. $title"; fi
}

step_wait() { # waits for all steps; returns the status of the last one that failed
  local i running status=0 last_shown=$SECONDS
  while ((${#_step_pids[@]})); do
    running=0
    for i in "${!_step_pids[@]}"; do
      if kill -0 "${_step_pids[i]}" 2>/dev/null; then
        running=1
      else
        _step_end "$i" || status=$?
      fi
    done
    if ((running)); then
      if [[ -t 1 ]]; then
        _step_show $'\r\e[K -> ' ''
      elif ((SECONDS - last_shown >= 15)); then
        last_shown=$SECONDS
        _step_show '    ' $'\n'
      fi
      sleep 0.1
    fi
  done
  trap - INT TERM HUP
  eval "$_step_old_traps"
  return "$status"
}

_now() { printf '%s' "${EPOCHREALTIME//[!0-9]/}"; } # microseconds; the decimal sign is the locale's

_step_show() { # BEFORE AFTER: the titles still running and the time of the oldest
  local i line='' oldest
  for i in "${!_step_pids[@]}"; do
    oldest=${oldest:-${_step_starts[i]}}
    line+="${line:+; }${_step_titles[i]}"
  done
  line="$((($(_now) - oldest) / 1000000)) s: $line"       # the time first, because the line may be cut
  if [[ -t 1 ]]; then line=${line:0:${COLUMNS:-80}-5}; fi # a longer one would wrap, and could not be rewritten
  printf '%s%s%s' "$1" "$line" "$2"
}

_step_end() { # INDEX: prints how the step ended, and removes it from the lists
  local i=$1 status=0 tenths log=${_step_logs[$1]}
  wait "${_step_pids[i]}" || status=$?
  tenths=$((($(_now) - _step_starts[i]) / 100000))
  tenths=$((tenths / 10)).$((tenths % 10))
  if [[ -t 1 ]]; then printf '\r\e[K'; fi
  if ((status == 0)); then
    printf ' %s %s (%s s)\n' "$(_paint 1 32 ok)" "${_step_titles[i]}" "$tenths"
    rm -f "$log"
  else
    printf ' %s %s (%s s, exit status %s)\n' "$(_paint 1 31 FAILED)" "${_step_titles[i]}" "$tenths" "$status"
    _step_output "$log" >&2
  fi
  unset "_step_pids[i]" "_step_titles[i]" "_step_logs[i]" "_step_starts[i]"
  return "$status"
}

_step_output() { # LOG: all of it; if it is too long for that, its end, and the file is kept
  local lines
  lines=$(wc -l <"$1")
  if ((lines > 60)); then
    printf '%s\n' "The end of its output (the rest is in $1):"
    tail -n 30 "$1" | sed 's/^/    /'
    return
  fi
  if [[ -s $1 ]]; then printf '%s\n' "Its output:" && sed 's/^/    /' "$1"; fi
  rm -f "$1"
}

_step_interrupt() { # SIGNAL
  local pid
  trap - INT TERM HUP
  for pid in "${_step_pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  rm -f "${_step_logs[@]}"
  printf '\n' >&2
  kill "-$1" $$
}
