# SPDX-License-Identifier: Apache-2.0
# What every target shares: the language, the warnings, the sanitizers, and how a test is declared.
find_package(PkgConfig REQUIRED)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
# Assertions stay in what people run: a broken invariant must stop, not write on.
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
find_package(Threads REQUIRED)

add_library(hf_warnings INTERFACE)
target_compile_definitions(hf_warnings INTERFACE _GNU_SOURCE)
target_include_directories(hf_warnings INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(hf_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
  -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wnull-dereference -Wimplicit-fallthrough
  -Wno-format-nonliteral -Wno-null-dereference -fvisibility=hidden -fno-strict-overflow -fstack-protector-strong)
if(HOLDFAST_SANITIZE)
  target_compile_options(hf_warnings INTERFACE
    -fsanitize=${HOLDFAST_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(hf_warnings INTERFACE -fsanitize=${HOLDFAST_SANITIZE})
endif()
if(HOLDFAST_FAULTS)
  target_compile_definitions(hf_warnings INTERFACE HOLDFAST_FAULTS)
endif()
option(HOLDFAST_COVERAGE "count what is reached, for tests/coverage (gcc)" OFF)
if(HOLDFAST_COVERAGE)
  add_library(hf_counts STATIC ${CMAKE_SOURCE_DIR}/tests/parts/counts.c)
  target_compile_options(hf_warnings INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(hf_warnings INTERFACE
    --coverage -Wl,--wrap=_exit -Wl,--wrap=execve -Wl,--wrap=kill -Wl,--wrap=wire_end_write)
  target_link_libraries(hf_warnings INTERFACE hf_counts)
endif()
target_link_libraries(hf_warnings INTERFACE Threads::Threads)

# hf_library(name SOURCES a.c b.c USES targets... PACKAGES pkg-config-names...)
# A static library of one layer part. PACKAGES are private: only this part includes that library.
function(hf_library name)
  cmake_parse_arguments(L "" "" "SOURCES;USES;PACKAGES" ${ARGN})
  add_library(${name} STATIC ${L_SOURCES})
  target_link_libraries(${name} PUBLIC hf_warnings ${L_USES})
  foreach(pkg ${L_PACKAGES})
    string(MAKE_C_IDENTIFIER "PC_${pkg}" var)
    if(NOT TARGET PkgConfig::${var})
      pkg_check_modules(${var} REQUIRED IMPORTED_TARGET GLOBAL ${pkg})
    endif()
    target_link_libraries(${name} PRIVATE PkgConfig::${var})
  endforeach()
endfunction()

# hf_test(name SOURCES x_test.c LIBS targets... [LABELS l...] [SERVICES postgres kafka ...])
# A cmocka test program run by ctest. SERVICES are started by tests/parts/with before the program
# and named to it in the environment (HOLDFAST_TEST_POSTGRES, HOLDFAST_TEST_KAFKA, ...).
function(hf_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LIBS;LABELS;SERVICES" ${ARGN})
  if(NOT TARGET PkgConfig::PC_cmocka)
    pkg_check_modules(PC_cmocka REQUIRED IMPORTED_TARGET GLOBAL cmocka)
  endif()
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE hf_warnings ${T_LIBS} PkgConfig::PC_cmocka)
  if(T_SERVICES)
    add_test(NAME ${name} COMMAND ${CMAKE_SOURCE_DIR}/tests/parts/with ${T_SERVICES} -- $<TARGET_FILE:${name}>)
    list(APPEND T_LABELS services)
  else()
    add_test(NAME ${name} COMMAND ${name})
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  # 77: tests/parts/with cannot start a service here (Postfix for a user who is not root). Long ones
  # begin first (COST), or one of them is left running alone at the end.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT} COST ${T_TIMEOUT} LABELS "${T_LABELS}" SKIP_RETURN_CODE 77
    ENVIRONMENT "HOLDFAST_BIN=$<TARGET_FILE_DIR:${name}>/../holdfast")
endfunction()

# hf_fuzz(name SOURCES target.c LIBS targets... CORPUS folder)
# target.c defines LLVMFuzzerTestOneInput. With gcc it is linked with tests/fuzz/replay.c, which runs
# every file of the corpus, then changes them for a while. With clang and -DHOLDFAST_LIBFUZZER=ON it
# becomes a libFuzzer program; what that finds stays in the build folder. CORPUS is relative to the
# calling CMakeLists.txt.
option(HOLDFAST_LIBFUZZER "link fuzz targets with libFuzzer (clang only)" OFF)
if(HOLDFAST_LIBFUZZER)
  target_compile_options(hf_warnings INTERFACE -fsanitize=fuzzer-no-link)
endif()
function(hf_fuzz name)
  cmake_parse_arguments(F "" "CORPUS" "SOURCES;LIBS" ${ARGN})
  get_filename_component(corpus ${F_CORPUS} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  add_executable(${name} ${F_SOURCES})
  target_link_libraries(${name} PRIVATE hf_warnings ${F_LIBS})
  if(HOLDFAST_LIBFUZZER)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${name}.found)
    add_test(NAME ${name} COMMAND ${name} -max_total_time=20 -timeout=10
      ${CMAKE_CURRENT_BINARY_DIR}/${name}.found ${corpus})
  else()
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
    add_test(NAME ${name} COMMAND ${name} --seconds 20 ${corpus})
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS fuzz
    WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
