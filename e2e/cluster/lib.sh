# What the scripts of this folder share: options, names, paths, and how a component is started and ended. Sourced.
#
# A cluster NAME has a directory with everything it owns, a network namespace and a cgroup of its own, so several can
# live side by side and `down` can tell exactly what belongs to it.

set -euo pipefail
folder=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
kubernetes=v1.34.4
helm=v3.20.2
cache=${HALFTONE_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/halftone-e2e}
PATH=$PATH:/usr/sbin:/sbin

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
say() { echo "e2e/cluster: $*" >&2; }

# Prints the comment that opens the calling script, which is its help.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# options "$@": takes --name and --help; everything else is left in $rest.
options() {
  name=${HALFTONE_CLUSTER:-halftone} rest=()
  while [ $# -gt 0 ]; do
    case $1 in
      --name) [ $# -ge 2 ] || die "--name needs a value"; name=$2; shift 2 ;;
      --name=*) name=${1#*=}; shift ;;
      -h|--help) usage; exit 0 ;;
      --) shift; rest+=("$@"); break ;;
      -*) [ ${#rest[@]} -gt 0 ] || die "unknown option $1; --help lists them"; rest+=("$1"); shift ;;
      *) rest+=("$@"); break ;;
    esac
  done
  [[ $name =~ ^[a-z][a-z0-9-]{0,19}$ ]] || die "a cluster's name is 1 to 20 of a-z, 0-9 and -, not '$name'"
  state=$cache/clusters/$name
  netns=halftone-e2e-$name
  cgroup=halftone-e2e-$name
  node_ip=172.31.255.2
  export KUBECONFIG=$state/kubeconfig
}

# Where the programs of these sources are, or will be, in the cache.
bin_of() { # node|helm VERSION
  echo "$cache/bin/$1-$2-$(cat "$folder/$1"/go.* "$folder/$1"/*.go "$folder/build" 2>/dev/null | sha256sum | cut -c1-12)"
}
bin=$(bin_of node $kubernetes)
helm_bin=$(bin_of helm $helm)
export PATH=$bin:$helm_bin:$PATH

need_root() { [ "$(id -u)" -eq 0 ] || die "needs root: it makes network namespaces and mounts; try sudo -E $0"; }
# What a machine that started anew has left is not up, and `up` clears it.
is_up() {
  local component
  [ -e "$state/up" ] && for component in "${components[@]}"; do alive "$component" && return; done
  return 1
}
need_up() { is_up || die "cluster '$name' is not up; start it with e2e/cluster/up --name $name"; }

components=(forward etcd kube-apiserver kube-controller-manager kube-scheduler containerd kube-proxy kubelet)

# The time at which a process started, which tells it from a later one with the same number. A zombie has ended.
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  set -- ${stat##*) }
  [ "$1" != Z ] && echo "${20}"
}
alive() { # COMPONENT
  local pid at
  read -r pid at 2>/dev/null <"$state/run/$1.pid" && [ "$(started_at "$pid")" = "$at" ]
}

# define COMPONENT COMMAND…: writes down how it is started. All but `forward` run within the cluster's network.
# `nsenter` and not `ip netns exec`: that one mounts a fresh /sys and hides the cgroups from the kubelet.
define() {
  local component=$1; shift
  [ "$component" = forward ] || set -- nsenter --net="/run/netns/$netns" "$@"
  printf '%q ' "$@" >"$state/run/$component.cmd"
}
launch() { # COMPONENT
  local component=$1 pid
  alive "$component" && return
  eval "exec setsid $(cat "$state/run/$component.cmd")" >>"$state/log/$component.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(started_at $pid)" >"$state/run/$component.pid"
  disown $pid
}
halt() { # COMPONENT [SIGNAL]: ends it and waits until it is gone
  local component=$1 signal=${2:-TERM} pid at
  alive "$component" || return 0
  read -r pid at <"$state/run/$component.pid"
  kill "-$signal" "$pid" 2>/dev/null || true
  for _ in $(seq 150); do alive "$component" || return 0; sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
  for _ in $(seq 50); do alive "$component" || return 0; sleep 0.1; done
  die "$component (process $pid) does not end"
}

# wait_for SECONDS WHAT COMPONENT COMMAND…: polls until the command succeeds; gives up early when the component ended.
wait_for() {
  local seconds=$1 what=$2 component=$3; shift 3
  for _ in $(seq $((seconds * 10))); do
    "$@" >/dev/null 2>&1 && return
    alive "$component" || { tail -n 15 "$state/log/$component.log" >&2; die "$component ended before $what; the end of $state/log/$component.log is above"; }
    sleep 0.1
  done
  tail -n 15 "$state/log/$component.log" >&2
  die "no $what after $seconds s; the end of $state/log/$component.log is above"
}
api_ready() { curl -sf --max-time 2 --cacert "$state/pki/ca.crt" -H "Authorization: Bearer $(cat "$state/pki/admin.token")" "https://127.0.0.1:$(cat "$state/port")/readyz"; }

# The cgroups of the cluster's pods: one in each hierarchy (v1), or the one (v2, with the controllers passed on).
cgroups() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo "/sys/fs/cgroup/$cgroup"
  else
    local hierarchy
    for hierarchy in /sys/fs/cgroup/*/; do
      [ -e "${hierarchy}cgroup.procs" ] && [ ! -L "${hierarchy%/}" ] && echo "$hierarchy$cgroup"
    done
  fi
  return 0
}
make_cgroups() {
  local directory controller
  for directory in $(cgroups); do
    mkdir -p "$directory"
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
      for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
        echo "+$controller" >"$directory/cgroup.subtree_control" 2>/dev/null || true
      done
    elif [ -e "$directory/cpuset.cpus" ]; then
      # A cpuset without cores and memory takes no process.
      cat /sys/fs/cgroup/cpuset/cpuset.cpus >"$directory/cpuset.cpus"
      cat /sys/fs/cgroup/cpuset/cpuset.mems >"$directory/cpuset.mems"
    fi
  done
}
kill_cgroups() {
  local directory pids
  for _ in $(seq 20); do
    pids=
    for directory in $(cgroups); do
      # What ends meanwhile takes its directory along, which is no error.
      pids+=" $(find "$directory" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | tr '\n' ' ' || true)"
    done
    [ -n "${pids// /}" ] || return 0
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
}
remove_cgroups() {
  local directory
  for directory in $(cgroups); do
    [ ! -d "$directory" ] || find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

in_containerd() { ctr -a "$state/containerd.sock" -n k8s.io "$@"; }
# Prints the running container of a pod that has one. It asks containerd and not the API server, which may be away.
container_of() { # NAMESPACE POD
  local running labels containers
  # Containers that have ended keep their labels; of those, none has a task that runs.
  running=$(in_containerd tasks ls | awk '$3 == "RUNNING" {print $1}')
  labels="labels.\"io.kubernetes.pod.namespace\"==$1,labels.\"io.kubernetes.pod.name\"==$2,labels.\"io.cri-containerd.kind\"==container"
  containers=$(in_containerd containers ls -q "$labels" | grep -xF "$running" || true)
  [ -n "$containers" ] || die "no process of pod $1/$2 runs"
  [ "$(wc -l <<<"$containers")" -eq 1 ] || die "pod $1/$2 has several containers"
  echo "$containers"
}
