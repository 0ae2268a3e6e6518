#include "class_signature.hpp"

#include "object_ref.hpp"

namespace memoized_prefetch::binding {

namespace {

PyObject* set_name = nullptr; // `__set__`, interned once per process

/// A number that changes with every attribute of a class or its bases, or 0 if it has none at the moment. Look an
/// attribute up first: that gives the class a version if it has none.
unsigned int version_of(PyTypeObject* cls) noexcept {
#if PY_VERSION_HEX < 0x030D0000
    if (PyType_HasFeature(cls, Py_TPFLAGS_VALID_VERSION_TAG) == 0) {
        return 0;
    }
#endif
    return cls->tp_version_tag;
}

/// What a class says about its instances' attributes, cheap enough to ask for every result. It is the version of the class,
/// and for each of these names that has a descriptor, the descriptor's class and the version of that. A descriptor's class
/// may be exchanged, which does not change the version of the class it is in. None if something has no version.
nb::object class_signature(nb::handle type, nb::handle names) {
    auto* cls = reinterpret_cast<PyTypeObject*>(type.ptr());
    nb::list signature;
    bool has_versions = true;
    for (nb::handle name : names) {
        if (PyObject* descriptor = _PyType_Lookup(cls, name.ptr()); descriptor != nullptr) {
            PyTypeObject* kind = Py_TYPE(descriptor);
            _PyType_Lookup(kind, set_name);
            const unsigned int version = version_of(kind);
            has_versions = has_versions && version != 0;
            signature.append(nb::borrow(reinterpret_cast<PyObject*>(kind)));
            signature.append(nb::int_(version));
        }
    }
    const unsigned int version = version_of(cls);
    signature.append(nb::int_(version));
    return has_versions && version != 0 ? nb::object(nb::tuple(signature)) : nb::none();
}

} // namespace

void bind_class_signature(nb::module_& module) {
    set_name = checked(PyUnicode_InternFromString("__set__")).release();
    module.def("class_signature", &class_signature, nb::arg("cls"), nb::arg("names"),
               nb::sig("def class_signature(cls: type, names: Iterable[str]) -> tuple[Any, ...] | None"),
               "What may change in a class that instances are built of, equal as long as it does not; None: unknown.");
}

} // namespace memoized_prefetch::binding
