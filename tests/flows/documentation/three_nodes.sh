# Makes three copies of this system that nobody else sees, each with a network of its own, joined by
# a bridge, and AMS beside them. Then it takes the steps in the file `$2`, which call `block`.
# The packages are in `$1`, nats-server is `$3`; AMS shows `$4` and `$5`, and is that of `$6`.
set -eu
packages=$1 steps=$2 nats=$3 certificate=$4 key=$5 stream_dev=$6
export HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
password='the trust password'

# on N COMMANDS: what root types on node N. Units go by the name of their machine.
on() {
  unshare --uts sh -c 'hostname "$0"; exec "$@"' "node-$1" \
    nsenter "--net=/run/netns/node-$1" chroot "/mnt/$1/root" env "N=$1" sh -euc "cd /checkout; $2"
}

# What the parts have said, when something fails.
told() {
  code=$?
  [ $code = 0 ] ||
    tail -n 20 /mnt/ams.log /mnt/*/root/run/manager.log /mnt/*/root/var/log/units/*.log
  exit $code
}

# block PLACE N...: the commands, of the standard input, on one node after the other.
block() {
  commands=$(cat) place=$1
  shift
  for number; do
    echo "=== block $place"
    on "$number" "$commands" 2>&1
  done
}

# node N: a system whose network ends at the bridge, with a service manager.
node() {
  directory=/mnt/$1 root=/mnt/$1/root name=node-$1
  mkdir -p "$directory/upper" "$directory/work" "$root"
  mount -t overlay overlay \
    -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$root"
  mount -t proc none "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs none "$root/run"
  cp /etc/hosts "$root/etc/hosts"
  install -m 0755 tests/interop/systemd/systemctl "$nats" "$root/usr/local/bin/"
  mkdir "$root/checkout"
  mount --bind /mnt/checkout "$root/checkout"

  ip netns add "$name"
  ip link add "$name" type veth peer name eth0 netns "$name"
  ip link set "$name" master site up
  ip -n "$name" link set lo up
  ip -n "$name" address add "10.90.0.$1/24" dev eth0
  ip -n "$name" link set eth0 up
  on "$1" 'exec systemctl manager' >"$root/run/manager.log" 2>&1 &
  until [ -S "$root/run/systemd/private.sock" ]; do sleep 0.05; done
}

mount -t tmpfs none /mnt
mount -t tmpfs none /run
mkdir /run/netns
ip link set lo up
ip link add site type bridge
ip address add 10.90.0.9/24 dev site
ip link set site up

# What operators carry from node to node stands in one place for all of them.
mkdir -p /mnt/checkout/target/debian
cp "$packages"/*.deb /mnt/checkout/target/debian/
cp -r config /mnt/checkout/
(umask 077 && printf %s "$password" >/mnt/checkout/ams.password)
{
  echo '127.0.0.1 localhost'
  echo '10.90.0.9 ams.example.org'
  for number in 1 2 3; do
    names=$(printf %s-$number.example.org\  nats agent gateway)
    echo "10.90.0.$number $names stream.example.org"
  done
} >/mnt/hosts
mount --bind /mnt/hosts /etc/hosts
"$stream_dev" ams --listen 10.90.0.9 --trust-password "$password" \
  --certificate "$certificate" --key "$key" >/mnt/ams.log 2>&1 &
trap told EXIT
for number in 1 2 3; do node $number; done

. "$steps"
