# lever_isa_sources(<tag> FLAGS <flags...> SOURCES <files...>): one OBJECT library per instruction set.
# Flags are per target, so every header these files include is compiled for the same ISA; LTO is off so
# that no cross-module inlining moves SIMD code into baseline code.
function(lever_isa_sources tag)
    cmake_parse_arguments(A "" "" "FLAGS;SOURCES" ${ARGN})
    if(NOT A_SOURCES)
        return()
    endif()
    add_library(lever_kernel_${tag} OBJECT ${A_SOURCES})
    target_compile_options(lever_kernel_${tag} PRIVATE -O3 ${A_FLAGS} -fno-lto)
    target_link_libraries(lever_kernel_${tag} PRIVATE lever_flags)
    target_sources(lever PRIVATE $<TARGET_OBJECTS:lever_kernel_${tag}>)
endfunction()
