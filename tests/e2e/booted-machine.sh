#!/bin/sh
# A machine that its own systemd boots, for package.test.ts: this one's files under a layer of its
# own, namespaces and control group of its own, no unit of this machine enabled. What it shares with
# this machine is the kernel, whose settings it may read only, those of its network excepted.
#
#   booted-machine.sh LAYER CONTROL_GROUP     (in the network namespace that it is to have)
set -eu
layer=$1
if [ "${3:-}" != inside ]; then
  echo $$ >"$2/cgroup.procs"
  exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup "$0" "$1" "$2" inside
fi

root=$layer/root
mount --make-rprivate /
mkdir -p "$layer/upper" "$layer/work" "$root" "$layer/share"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$root"
# A container image's word against starting services is not a machine's.
rm -rf "$root/etc/systemd/system" "$root/usr/sbin/policy-rc.d"
mkdir "$root/etc/systemd/system"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys/net" "$root/mnt"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --move "$root/mnt" "$root/proc/sys/net"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for each in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$each"; done
chmod 1777 "$root/tmp"
mkdir "$root/dev/net" "$root/dev/shm" "$root/dev/pts"
for each in null zero full random urandom tty net/tun; do
  : >"$root/dev/$each"
  mount --bind "/dev/$each" "$root/dev/$each"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$layer/share" "$root/mnt"

# Units for the machine itself, in /run: what /etc holds is what packages put there.
units=$root/run/systemd/system
mkdir -p "$units"
ln -s /usr/lib/systemd/system/multi-user.target "$units/default.target"
for each in getty.target console-getty.service systemd-logind.service e2scrub_reap.service \
  systemd-update-utmp-runlevel.service systemd-user-sessions.service; do
  ln -s /dev/null "$units/$each"
done
hostname "${2##*/}"
exec chroot "$root" /usr/bin/env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=console --show-status=true
