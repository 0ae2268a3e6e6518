#include "class_signature.hpp"

#include "object_ref.hpp"

namespace memoized_prefetch::binding {

namespace {

PyObject* set_name = nullptr; // `__set__`, interned once per process

/// The version of a class, a number that changes with every attribute of the class or its bases; 0 if it has none now.
/// Look up an attribute first: that gives the class a version.
unsigned int version_of(PyTypeObject* cls) noexcept {
#if PY_VERSION_HEX < 0x030D0000
    if (PyType_HasFeature(cls, Py_TPFLAGS_VALID_VERSION_TAG) == 0) {
        return 0;
    }
#endif
    return cls->tp_version_tag;
}

/// Equal signatures mean that the class treats these attributes of its instances as before. Cheap enough to compute for
/// every result. It has the version of the class, and for each name with a descriptor, the descriptor's class and the
/// version of that: a descriptor's class may be exchanged without changing the version of the class that has it. None
/// if something has no version.
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
    module.def(
        "class_signature", &class_signature, nb::arg("cls"), nb::arg("names"),
        nb::sig("def class_signature(cls: type, names: Iterable[str]) -> tuple[Any, ...] | None"),
        "A value that stays equal as long as the class builds instances in the same way; None if that is unknown.");
}

} // namespace memoized_prefetch::binding
