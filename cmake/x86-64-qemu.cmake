# The x86-64 build for processors this machine is not: ctest runs everything under qemu, whose processor the
# environment names (QEMU_CPU=Nehalem: no AVX; Haswell: AVX2). Static, as the emulator has its own loader path.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER cc)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-x86_64-static)
set(LEVER_KCHECK_ARGS --slack) # qemu loads whole vectors where some instructions read a part
