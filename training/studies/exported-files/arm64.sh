#!/usr/bin/env bash
# A Debian tree for ARM64 with the engines of sonoforge's files, which qemu runs on x86; as root, on Debian or Ubuntu:
#   bash training/studies/exported-files/arm64.sh TREE
# 0.7 GB and five minutes; the wheels are those of .ci/constraints.txt where it names them.
set -euo pipefail
checkout=$(realpath "$(dirname "$0")/../../..")
mkdir -p "$1" && tree=$(realpath "$1")
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy qemu-user-static debootstrap python3-pip g++-aarch64-linux-gnu >/dev/null

# The kernel starts ARM64 programs with qemu, also in a container, where nothing has registered it.
binfmt=/proc/sys/fs/binfmt_misc
[ -e "$binfmt/register" ] || mount -t binfmt_misc binfmt_misc "$binfmt"
[ -e "$binfmt/qemu-aarch64" ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$binfmt/register"

if [ ! -x "$tree/usr/bin/python3" ]; then
  debootstrap --arch=arm64 --variant=minbase --foreign --include=python3 bookworm "$tree"
  chroot "$tree" /debootstrap/debootstrap --second-stage
fi

# Debian 12 has Python 3.11.
wheels=(python3 -m pip install -q --upgrade --no-compile --only-binary :all: --python-version 3.11 --implementation cp
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64
  -c "$checkout/.ci/constraints.txt")
"${wheels[@]}" --target "$tree/opt/site" numpy onnxruntime packaging pillow pydicom ai-edge-litert
"${wheels[@]}" --target "$tree/opt/executorch" --no-deps executorch # its Python needs torch; its libraries do not

libraries=$tree/opt/executorch/executorch
aarch64-linux-gnu-g++ -std=c++20 -O2 -w -DC10_USING_CUSTOM_GENERATED_MACROS -DET_USE_THREADPOOL \
  -I "$libraries/include" -I "$libraries/include/executorch/runtime/core/portable_type/c10" \
  "$checkout/export/docs/executorch_rows.cpp" -o "$tree/opt/executorch_rows" -L "$libraries/lib" \
  -Wl,--no-as-needed,--allow-shlib-undefined,-rpath,/opt/executorch/executorch/lib \
  -lexecutorch -lexecutorch_kernels_optimized -lexecutorch_kernels_quantized -lexecutorch_backend_xnnpack -lexecutorch_threadpool

# What engines read before they choose their kernels: a Cortex-A76, as `arm64.py` asks qemu for.
mkdir -p "$tree/sys/devices/system/cpu"
for list in possible present; do echo 0 >"$tree/sys/devices/system/cpu/$list"; done
cat >"$tree/proc/cpuinfo" <<'CPU'
processor	: 0
BogoMIPS	: 38.40
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

CPU
echo "$tree: $(chroot "$tree" uname -m), Python $(chroot "$tree" python3 -c 'import platform; print(platform.python_version())')"
