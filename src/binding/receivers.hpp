/// receivers: calls the receivers of a signal, as `Signal.send()` does.
#pragma once

#include "instances.hpp"
#include "py_allocator.hpp"

#include <array>

namespace memoized_prefetch::binding {

/// The receivers that a signal had for one sender when the result was read, perhaps none. `send()` finds them anew for
/// every instance, which takes 2 us. As long as the signal has the same list, they are called directly instead.
class receivers {
public:
    /// `plan`: (signal, its list of entries, (receiver or weak reference, ...)); or (signal, None, ()), if only `send()`
    /// may call them.
    explicit receivers(nb::handle plan)
        : m_signal(object_ref::borrow(nb::object(plan[0]).ptr())),
          m_entries(object_ref::borrow(nb::object(plan[1]).ptr())), m_by_send(PyList_CheckExact(m_entries.get()) == 0) {
        for (nb::handle receiver : nb::object(plan[2])) {
            m_receivers.push_back(object_ref::borrow(receiver.ptr()));
        }
        if (!m_by_send) {
            m_count = PyList_GET_SIZE(m_entries.get());
            m_last = last();
        }
    }

    /// Whether there may be any now.
    [[nodiscard]] bool may_be_any() const { return !m_receivers.empty() || !is_unchanged(); }

    void call(PyObject* sender, PyObject* instance) const {
        if (!is_unchanged()) {
            send(sender, instance);
            return;
        }
        // All of them first: a receiver may disconnect another, which is called for this instance even so.
        py_vector<object_ref> live;
        live.reserve(m_receivers.size());
        for (const object_ref& receiver : m_receivers) {
            const bool is_weak = PyWeakref_CheckRef(receiver.get());
            object_ref one = is_weak ? checked(PyObject_CallNoArgs(receiver.get())) : receiver;
            if (one.get() != Py_None) {
                live.push_back(std::move(one));
            }
        }
        const std::array<PyObject*, 3> arguments{m_signal.get(), sender, instance};
        for (const object_ref& receiver : live) {
            checked(PyObject_Vectorcall(receiver.get(), arguments.data(), 0, interned.of_receivers));
        }
    }

private:
    /// Receivers are appended to the list, and taken out of it. So if the list is as long as it was and ends with the
    /// same entry, it has the same entries.
    [[nodiscard]] bool is_unchanged() const {
        return !m_by_send && checked(PyObject_GetAttr(m_signal.get(), interned.receivers)).get() == m_entries.get() &&
               PyList_GET_SIZE(m_entries.get()) == m_count && last().get() == m_last.get();
    }
    [[nodiscard]] object_ref last() const {
        const Py_ssize_t size = PyList_GET_SIZE(m_entries.get());
        return size == 0 ? object_ref() : object_ref::borrow(PyList_GET_ITEM(m_entries.get(), size - 1));
    }

    void send(PyObject* sender, PyObject* instance) const {
        const object_ref method = checked(PyObject_GetAttr(m_signal.get(), interned.send));
        const std::array<PyObject*, 2> arguments{sender, instance};
        checked(PyObject_Vectorcall(method.get(), arguments.data(), 0, interned.of_send));
    }

    object_ref m_signal;
    object_ref m_entries;
    bool m_by_send;
    Py_ssize_t m_count = 0;
    object_ref m_last; // null if the list is empty
    py_vector<object_ref> m_receivers;
};

} // namespace memoized_prefetch::binding
