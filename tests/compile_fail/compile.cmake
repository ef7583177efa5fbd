# Compiles SOURCE with the macro CASE; see CMakeLists.txt beside this file.
set(ENV{LC_ALL} C)
execute_process(
  COMMAND ${COMPILER} -std=c++20 -fsyntax-only -I${ROOT} -D${CASE} ${SOURCE}
  RESULT_VARIABLE result
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output
)
if(CASE STREQUAL "none")
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "the source itself does not compile:\n${output}")
  endif()
elseif(result EQUAL 0)
  message(FATAL_ERROR "the compiler accepts ${CASE}")
elseif(NOT output MATCHES "${MESSAGE}")
  message(FATAL_ERROR "rejected for another reason than `${MESSAGE}`:\n${output}")
endif()
