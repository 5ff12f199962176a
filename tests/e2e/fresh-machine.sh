#!/bin/sh
# A fresh machine for install.test.ts: this one's files under a layer of its own, an empty /run, and
# a systemctl that starts and stops the agent itself. Runs its arguments in there; what the layer
# holds afterwards is what they changed.
#
#   unshare --mount fresh-machine.sh LAYER COMMAND…
set -eu
layer=$1
shift
mount --make-rprivate /
[ -d "$layer/upper" ] || mkdir -p "$layer/upper" "$layer/work" "$layer/root" "$layer/run/systemd/system"
mkdir -p "$layer/fake"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
for each in /proc /dev /sys; do mount --rbind "$each" "$layer/root$each"; done
mount --bind "$layer/run" "$layer/root/run"
mount --bind "$layer/fake" "$layer/root/mnt"
cat >"$layer/fake/systemctl" <<'END'
#!/bin/sh
echo "$*" >>/mnt/calls
stop() {
  [ -f /mnt/pid ] || return 0
  kill "$(cat /mnt/pid)" 2>/dev/null
  while kill -0 "$(cat /mnt/pid)" 2>/dev/null; do sleep 0.05; done
  rm /mnt/pid
}
case $1 in
  restart)
    stop
    setsid /usr/local/bin/overlay agent >>/mnt/agent.log 2>&1 </dev/null &
    echo $! >/mnt/pid
    for _ in $(seq 200); do [ -S /run/overlay/overlay.sock ] && exit 0; sleep 0.05; done
    exit 1 ;;
  stop) stop ;;
esac
END
chmod +x "$layer/fake/systemctl"
exec chroot "$layer/root" /usr/bin/env "PATH=/mnt:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin" "$@"
