# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts that start parts for tests share: paths, free ports, and processes known by a
# pid file. A pid counts as ours only while its start time is the one that was noted.

parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/holdfast}

die()
{
    echo "${0##*/}: $*" >&2
    exit 1
}

# abs DIR: DIR made and named absolutely.
abs()
{
    mkdir -p -- "$1" && (cd -- "$1" && pwd)
}

# free_port: a loopback port nobody listens on, below the range that outgoing connections draw from,
# so that it stays free for us while the part is down and started again.
free_port()
{
    local port
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        port=$((12000 + (RANDOM * 32768 + RANDOM) % 20000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    die "no free loopback port found"
}

# start_time PID: when the process started, in clock ticks since boot; fails for none and for a zombie.
start_time()
{
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }
    [ "${stat%% *}" != Z ] || return 1
    set -- $stat
    echo "${20}"
}

# note_pid DIR PID
note_pid()
{
    local since
    since=$(start_time "$2") || return 1
    echo "$since" >"$1/pid.since"
    echo "$2" >"$1/pid"
}

# live_pid DIR: prints the pid noted in DIR while that very process lives.
live_pid()
{
    local pid since
    [ -s "$1/pid" ] && [ -s "$1/pid.since" ] || return 1
    pid=$(cat "$1/pid")
    since=$(start_time "$pid") || return 1
    [ "$since" = "$(cat "$1/pid.since")" ] || return 1
    echo "$pid"
}

# wait_gone PID SECONDS
wait_gone()
{
    local until=$((SECONDS + $2))
    while start_time "$1" >/dev/null; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.05
    done
}

# end_part DIR SECONDS: SIGTERM, a wait, then SIGKILL; nothing to do when nothing runs.
end_part()
{
    local pid
    if pid=$(live_pid "$1"); then
        kill -TERM "$pid" 2>/dev/null || true
        if ! wait_gone "$pid" "$2"; then
            echo "${0##*/}: process $pid did not stop in $2 s, killed" >&2
            kill -KILL "$pid" 2>/dev/null || true
            wait_gone "$pid" 10 || die "process $pid cannot be killed"
        fi
    fi
    rm -f "$1/pid" "$1/pid.since"
}

# kill_part DIR: SIGKILL at once.
kill_part()
{
    local pid
    pid=$(live_pid "$1") || die "nothing runs in $1"
    kill -KILL "$pid"
    wait_gone "$pid" 10 || die "process $pid cannot be killed"
    rm -f "$1/pid" "$1/pid.since"
}

# detached LOG COMMAND...: starts COMMAND in a session of its own, holding none of our descriptors,
# and sets `detached_pid`.
detached()
{
    local log=$1
    shift
    setsid bash -c 'for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null
        done
        exec "$@"' detached "$@" </dev/null >>"$log" 2>&1 &
    detached_pid=$!
}

# script_of SERVICE: the script that starts and stops it.
script_of()
{
    case $1 in
    smtp) echo "$parts/../../contrib/maildir-smtp" ;;
    *) echo "$parts/$1" ;;
    esac
}

# stop_services SCRATCH: stops every part that lives in a folder SCRATCH/<service>, removes SCRATCH.
stop_services()
{
    stop_services_in "$1"
    rm -rf "$1"
}

stop_services_in()
{
    local service
    for service in postgres kafka kafka-cluster postfix smtp; do
        if [ -d "$1/$service" ]; then
            "$(script_of "$service")" stop "$1/$service" || true
        fi
    done
}
