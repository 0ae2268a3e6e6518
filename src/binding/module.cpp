#include "chunk.hpp"
#include "class_signature.hpp"
#include "conversions.hpp"
#include "follow.hpp"
#include "hydrator.hpp"
#include "lookahead.hpp"
#include "marks.hpp"
#include "relation_specs.hpp"
#include "tables.hpp"
#include "utc_loader.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace binding = memoized_prefetch::binding;

NB_MODULE(engine_of_nanobind, module) {
    module.doc() = "The C++ engine of django_memoized_prefetch. Private: may change in any release.";
    // Objects that a program still holds when it ends are not leaks; the tests count references themselves.
    nanobind::set_leak_warnings(false);
    binding::intern_names();
    binding::find_uuid_class();
    binding::prepare_conversions();
    binding::bind_tables(module);
    binding::bind_relations(module);
    binding::bind_chunk(module);
    binding::bind_follow(module);
    binding::bind_marks(module);
    binding::bind_hydrator(module);
    binding::bind_lookahead(module);
    binding::bind_class_signature(module);
    binding::bind_utc_loader(module);
}

/// nanobind and the objects interned here belong to one interpreter. A second one would use the first one's objects,
/// even after the first one has ended. So the module's definition is nanobind's with a guard before it, which refuses
/// before any code of nanobind has run. The guard must be in the module's execution: from Python 3.13 on, PyInit runs
/// in the main interpreter for any other. The definition admits interpreters with a GIL of their own as far as the
/// guard, because CPython would refuse them without saying what to do. On Python 3.12 CPython refuses them all the same:
/// there they have no datetime in C, which the engine needs.
namespace {

constexpr std::int64_t nobody = -1;
std::atomic<std::int64_t> owner = nobody; // an interpreter's id; no id is used twice
constexpr const char* module_key = "django_memoized_prefetch._engine";

/// nanobind's own definition.
PyModuleDef& of_nanobind() {
    static auto* const definition = reinterpret_cast<PyModuleDef*>(PyInit_engine_of_nanobind());
    return *definition;
}
PyObject* registered = nullptr; // the module whose end nanobind must be told of

int run_nanobind(PyObject* module) {
    registered = module;
    for (const PyModuleDef_Slot* slot = of_nanobind().m_slots; slot->slot != 0; ++slot) {
        if (slot->slot == Py_mod_exec && reinterpret_cast<int (*)(PyObject*)>(slot->value)(module) != 0) {
            return -1;
        }
    }
    return 0;
}

int execute(PyObject* module) {
    PyInterpreterState* interpreter = PyInterpreterState_Get();
    const std::int64_t id = PyInterpreterState_GetID(interpreter);
    std::int64_t of_owner = nobody;
    if (!owner.compare_exchange_strong(of_owner, id) && of_owner != id) {
        PyErr_Format(PyExc_ImportError,
                     "django_memoized_prefetch can be used by one Python interpreter per process: this is interpreter "
                     "%lld, and interpreter %lld has already imported it. Use processes instead of "
                     "sub-interpreters. With mod_wsgi: give each site a WSGIDaemonProcess and a WSGIProcessGroup of "
                     "its own, and WSGIApplicationGroup %%{GLOBAL}",
                     static_cast<long long>(id), static_cast<long long>(of_owner));
        return -1;
    }
    PyObject* modules = PyInterpreterState_GetDict(interpreter);
    if (modules == nullptr) {
        PyErr_SetString(PyExc_ImportError, "django_memoized_prefetch: the interpreter has no dict of its own");
        return -1;
    }
    // A module removed from sys.modules and imported again gets the same classes: they are registered only once.
    if (PyObject* before = PyDict_GetItemString(modules, module_key)) {
        return PyDict_Merge(PyModule_GetDict(module), PyModule_GetDict(before), 0);
    }
    return run_nanobind(module) != 0 ? -1 : PyDict_SetItemString(modules, module_key, module);
}

void end(void* module) {
    if (module == registered && of_nanobind().m_free != nullptr) {
        registered = nullptr;
        of_nanobind().m_free(module);
    }
}

} // namespace

extern "C" NB_EXPORT PyObject* PyInit__engine(); // NOLINT(*-reserved-identifier,*-identifier-naming)
extern "C" PyObject* PyInit__engine() {          // NOLINT(*-reserved-identifier,*-identifier-naming): Python's name
    static std::array<PyModuleDef_Slot, 3> slots{{
        {Py_mod_exec, reinterpret_cast<void*>(execute)},
#if PY_VERSION_HEX >= 0x030D0000
        {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
        {0, nullptr},
    }};
    static PyModuleDef guarded{PyModuleDef_HEAD_INIT, "_engine", nullptr, 0,  nullptr,
                               slots.data(),          nullptr,   nullptr, end};
    return PyModuleDef_Init(&guarded);
}
