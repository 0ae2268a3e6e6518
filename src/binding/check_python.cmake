# What the extension can be built for, said before anything is compiled. Also alone: cmake -DPython_EXECUTABLE=... -P this
if(NOT Python_EXECUTABLE)
    message(FATAL_ERROR "check_python.cmake needs Python_EXECUTABLE")
endif()
execute_process(COMMAND "${Python_EXECUTABLE}" -c
    "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sep=';')"
    OUTPUT_VARIABLE python_is OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
list(GET python_is 0 python_name)
list(GET python_is 1 python_version)
if(NOT python_name STREQUAL "cpython")
    message(FATAL_ERROR "django-memoized-prefetch needs CPython, and ${Python_EXECUTABLE} is ${python_name} "
        "${python_version}: the engine reads and writes objects as CPython lays them out.")
endif()
if(python_version VERSION_LESS 3.9)
    message(FATAL_ERROR "django-memoized-prefetch needs CPython 3.9 or later, and ${Python_EXECUTABLE} is "
        "${python_version}.")
endif()
if(python_version VERSION_GREATER 3.14 AND NOT MEMOIZED_PREFETCH_UNTESTED_PYTHON)
    message(FATAL_ERROR "django-memoized-prefetch knows CPython 3.9 to 3.14, and ${Python_EXECUTABLE} is "
        "${python_version}. Where this package's tests pass with it: pip install . "
        "-C cmake.define.MEMOIZED_PREFETCH_UNTESTED_PYTHON=ON")
endif()
