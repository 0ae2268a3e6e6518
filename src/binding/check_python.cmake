# Refuses unsupported Pythons before anything is compiled. Alone: cmake -DPython_EXECUTABLE=... -P check_python.cmake
if(NOT Python_EXECUTABLE)
    message(FATAL_ERROR "check_python.cmake needs Python_EXECUTABLE")
endif()
execute_process(COMMAND "${Python_EXECUTABLE}" -c
    "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sep=';')"
    OUTPUT_VARIABLE python_is OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
list(GET python_is 0 python_name)
list(GET python_is 1 python_version)
if(NOT python_name STREQUAL "cpython")
    message(FATAL_ERROR "django-memoized-prefetch needs CPython, but ${Python_EXECUTABLE} is ${python_name} "
        "${python_version}: the engine relies on how CPython lays out objects in memory.")
endif()
if(python_version VERSION_LESS 3.9)
    message(FATAL_ERROR "django-memoized-prefetch needs CPython 3.9 or later, but ${Python_EXECUTABLE} is "
        "${python_version}.")
endif()
if(python_version VERSION_GREATER 3.14 AND NOT MEMOIZED_PREFETCH_UNTESTED_PYTHON)
    message(FATAL_ERROR "django-memoized-prefetch supports CPython 3.9 to 3.14, but ${Python_EXECUTABLE} is "
        "${python_version}. If this package's tests pass with it: pip install . "
        "-C cmake.define.MEMOIZED_PREFETCH_UNTESTED_PYTHON=ON")
endif()
