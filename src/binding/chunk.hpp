/// The Python class Chunk: what one chunk pins, and the passes through which Python attaches its rows.
#pragma once

#include "to_one.hpp"

#include <memoized_prefetch/passes/open_passes.hpp>

#include <memory>
#include <optional>

namespace memoized_prefetch::binding {

/// What one chunk pins, over all its relations.
class py_chunk {
public:
    /// Ends all pins, so that the tables keep their bounds again.
    void close() noexcept;

    /// One pass runs at a time. While it runs there is room for it among those that have ended.
    void begin();
    /// The end of a pass that was committed, or that failed. Collections pin nothing: null. Once the chunk is closed,
    /// nothing stays pinned.
    void end(std::unique_ptr<open_pass> pass, bool committed) noexcept;

    /// The instances. If the relation before had the same ones, they are those that it has opened.
    [[nodiscard]] opened_instances open(nb::handle objects);
    /// Keeps opened instances for the next relation. Only while no code but the engine's has run since.
    void keep(opened_instances opened) { m_opened.emplace(std::move(opened)); }
    void forget_opened() noexcept { m_opened.reset(); }

private:
    open_passes m_passes;
    std::optional<opened_instances> m_opened;
    bool m_running = false;
    bool m_closed = false;
};

void bind_chunk(nb::module_& module);

} // namespace memoized_prefetch::binding
