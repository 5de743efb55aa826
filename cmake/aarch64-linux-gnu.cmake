# Cross build for 64-bit Arm; ctest runs everything under qemu by itself, whose processor the environment
# names (QEMU_CPU=cortex-a53: NEON only; neoverse-n1: and dot products; max, the default: and i8mm).
# Statically linked, so that the emulator needs no foreign sysroot at run time.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_LIBRARY_PATH /usr/lib/aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
