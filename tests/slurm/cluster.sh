#!/usr/bin/env bash
# A SLURM of two nodes on this machine, node1 and node2, for the tests marked slurm: cluster.sh start|stop FOLDER. Needs root and Debian's
# slurm-wlm and munge. All state lies in FOLDER; stop ends every daemon that start began.
set -euo pipefail
command=$1 folder=$2
conf=$folder/slurm.conf

start() {
    mkdir -p "$folder/state" "$folder/spool" /run/munge
    chmod 755 "$folder"
    if [ ! -f /etc/munge/munge.key ]; then
        dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
    fi
    chown -R munge: /etc/munge /run/munge
    chmod 400 /etc/munge/munge.key
    if ! munge -n </dev/null >/dev/null 2>&1; then
        runuser -u munge -- /usr/sbin/munged --force --pid-file=/run/munge/tests.pid
    fi
    local host memory
    host=$(hostname -s)
    memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 20))
    cat >"$conf" <<END
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
JobRequeue=1
KillWait=15
ReturnToService=2
SlurmdTimeout=30
MinJobAge=600
SchedulerParameters=requeue_delay=1,sched_interval=2,bf_interval=2,batch_sched_delay=1
NodeName=node[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[16818-16819] CPUs=$((($(nproc) + 1) / 2)) RealMemory=$memory State=UNKNOWN
PartitionName=tests Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP
END
    SLURM_CONF=$conf slurmctld
    for node in node1 node2; do
        mkdir -p "$folder/spool/$node"
        SLURM_CONF=$conf slurmd -N "$node"
    done
    for _ in $(seq 60); do
        if SLURM_CONF=$conf sinfo --noheader --format='%t %D' 2>/dev/null | grep -q 'idle 2'; then
            return
        fi
        sleep 0.5
    done
    tail -n 20 "$folder"/*.log >&2
    exit 1
}

stop() {
    SLURM_CONF=$conf scancel --user=root 2>/dev/null || true
    for name in node1 node2 slurmctld; do
        [ -f "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
    done
    [ -f /run/munge/tests.pid ] && kill "$(cat /run/munge/tests.pid)" 2>/dev/null || true
}

"$command"
