# GLSL to SPIR-V to C, at build time.
#   espl_add_shader(<target> <name> <source.comp> [STAGE compute] [DEFINES A B=1 ...])
# gives the target a C file with `const espl_shader espl_shader_<name>`. glslc runs at build time only and tracks what a
# source includes. vulkan1.1 is the floor of the library.
#   espl_op(<op> SHADERS <shader>[:<DEFINE>[=value],...][@<suffix>][?<EXTENSION>,...] ...)
# is a line of host/ops/ops.cmake: shaders/<shader>.comp with these defines becomes espl_shader_<shader>[_<suffix>]. One with
# extensions of GLSL is beyond the portable subset (shaders/README.md) and left out where the compiler does not know them.
#   espl_ops_finish()
# writes shaders/shaders.h in the build folder, which declares them all.
find_program(ESPALIER_GLSLC glslc REQUIRED)

# Sets out to whether glslc knows an extension of GLSL; says so once if not.
function(espl_glslc_knows extension out)
    get_property(known GLOBAL PROPERTY espl_glslc_knows_${extension})
    if(NOT DEFINED known OR known STREQUAL "")
        set(probe ${CMAKE_CURRENT_BINARY_DIR}/shaders/probe.comp)
        file(WRITE ${probe} "#version 450\n#extension ${extension} : require\nvoid main() {}\n")
        execute_process(COMMAND ${ESPALIER_GLSLC} --target-env=vulkan1.1 -o ${probe}.spv ${probe}
            RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
        set(known FALSE)
        if(result EQUAL 0)
            set(known TRUE)
        else()
            message(STATUS "${ESPALIER_GLSLC} does not know ${extension}: kernels that need it are left out")
        endif()
        set_property(GLOBAL PROPERTY espl_glslc_knows_${extension} ${known})
    endif()
    set(${out} ${known} PARENT_SCOPE)
endfunction()

function(espl_add_shader target name source)
    cmake_parse_arguments(PARSE_ARGV 3 arg "" "STAGE" "DEFINES")
    if(NOT arg_STAGE)
        set(arg_STAGE compute)
    endif()
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/shaders)
    file(MAKE_DIRECTORY ${folder})
    set(words ${folder}/${name}.inc)
    list(TRANSFORM arg_DEFINES PREPEND -D)
    add_custom_command(OUTPUT ${words}
        COMMAND ${ESPALIER_GLSLC} -O --target-env=vulkan1.1 -fshader-stage=${arg_STAGE} -mfmt=num -I ${PROJECT_SOURCE_DIR}/shaders
                ${arg_DEFINES} -MD -MF ${words}.d -MT ${words} -o ${words} ${source}
        DEPENDS ${source} DEPFILE ${words}.d COMMENT "Shader ${name}" VERBATIM)
    set(file ${folder}/${name}.c)
    # file(CONFIGURE) leaves an unchanged file alone, so that configuring again compiles nothing again.
    set(ESPL_SHADER_NAME ${name})
    file(CONFIGURE OUTPUT ${file} CONTENT [[
/* Made by shaders/shaders.cmake. */
#include "host/gpu/gpu.h"

extern const espl_shader espl_shader_@ESPL_SHADER_NAME@;
static const uint32_t words[] = {
#include "@ESPL_SHADER_NAME@.inc"
};
const espl_shader espl_shader_@ESPL_SHADER_NAME@ = {"@ESPL_SHADER_NAME@", words, sizeof words};
]] @ONLY)
    set_source_files_properties(${file} PROPERTIES OBJECT_DEPENDS ${words})
    target_sources(${target} PRIVATE ${file})
endfunction()

function(espl_op name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SHADERS")
    foreach(file host/ops/op_${name}.h host/ops/op_${name}.c tests/ref/ref_${name}.c tests/ops/test_${name}.c)
        if(NOT EXISTS ${PROJECT_SOURCE_DIR}/${file})
            message(FATAL_ERROR "operator ${name} lacks ${file}")
        endif()
    endforeach()
    foreach(shader ${arg_SHADERS})
        if(NOT shader MATCHES "^([a-z0-9_]+)(:([A-Za-z0-9_=,]+))?(@([a-z0-9_]+))?([?]([A-Za-z0-9_,]+))?$")
            message(FATAL_ERROR "operator ${name}: '${shader}' is not shader[:DEFINE,...][@suffix][?EXTENSION,...]")
        endif()
        set(shader_name ${CMAKE_MATCH_1})
        string(REPLACE "," ";" extensions "${CMAKE_MATCH_7}")
        if(CMAKE_MATCH_5)
            set(shader_name ${CMAKE_MATCH_1}_${CMAKE_MATCH_5})
        endif()
        set(source ${PROJECT_SOURCE_DIR}/shaders/${CMAKE_MATCH_1}.comp)
        string(REPLACE "," ";" defines "${CMAKE_MATCH_3}")
        set(kind portable)
        foreach(extension ${extensions})
            espl_glslc_knows(${extension} known)
            if(NOT known)
                set(kind missing)
            elseif(kind STREQUAL portable)
                set(kind optional)
            endif()
        endforeach()
        set_property(GLOBAL APPEND PROPERTY espl_shaders_${kind} ${shader_name})
        if(NOT kind STREQUAL missing)
            espl_add_shader(espalier_shaders ${shader_name} ${source} DEFINES ${defines})
        endif()
    endforeach()
    target_sources(espalier PRIVATE ${PROJECT_SOURCE_DIR}/host/ops/op_${name}.c)
    set_property(GLOBAL APPEND PROPERTY espl_op_names ${name})
endfunction()

function(espl_ops_finish)
    set(header "/* Made by shaders/shaders.cmake. */\n#include \"host/gpu/gpu.h\"\n\n")
    foreach(kind portable optional missing)
        get_property(names GLOBAL PROPERTY espl_shaders_${kind})
        set(list_${kind} "")
        foreach(name ${names})
            set(at "&espl_shader_${name}")
            if(kind STREQUAL missing)
                set(at NULL)
            else()
                string(APPEND header "extern const espl_shader espl_shader_${name};\n")
                string(APPEND list_${kind} " X(${name})")
            endif()
            if(NOT kind STREQUAL portable)
                string(APPEND header "#define ESPL_OPTIONAL_${name} ${at}\n")
            endif()
        endforeach()
    endforeach()
    string(APPEND header "\n/* For tests that read them all: those of the portable subset, the others that were built. */\n"
        "#define ESPL_SHADER_LIST(X)${list_portable}\n#define ESPL_OPTIONAL_SHADER_LIST(X)${list_optional}\n")
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/shaders/shaders.h CONTENT "${header}" @ONLY)
endfunction()
