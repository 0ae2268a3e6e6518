/// to_one_pass: attaches to every object the row that its own key names.
///
/// Several object models, each with several relations, may share a pass, and so one fetch.
/// `attach(i, std::span<const Handle* const> rows)` of the object model gets one pointer per relation: nullptr if the
/// object is skipped, a pointer to a null handle if there is no row.
#pragma once

#include <memoized_prefetch/passes/key_reading.hpp>
#include <memoized_prefetch/passes/key_resolution.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace memoized_prefetch {

template <class Memo>
class to_one_pass {
public:
    using key_type = typename Memo::key_type;
    using handle_type = typename Memo::handle_type;
    using allocator_type = typename Memo::allocator_type;
    template <class T>
    using vector_of = typename resolution_of_t<Memo>::template vector_of<T>;

    explicit to_one_pass(Memo& memo) : m_rows(memo) {}

    /// Collects the keys of all objects. Returns the number of this group of objects. Its relations are numbered after
    /// those collected before.
    /// `deferred`: gets the numbers of objects with a key that is not loaded. Null: such a key is an error.
    template <class Objects>
    std::size_t collect(Objects& objects, vector_of<std::size_t>* deferred = nullptr) {
        auto& at = m_rows.buffers();
        const std::size_t width = objects.width();
        const std::size_t begin = at.positions.size();
        const auto relation = static_cast<std::uint32_t>(at.requests.size());
        at.groups.push_back({begin, relation});
        at.positions.resize(begin + objects.size() * width, no_slot);
        at.requests.resize(at.requests.size() + width);
        m_rows.reserve(at.positions.size());
        ask(at.groups.size() - 1, objects, detail::all_of{objects.size()}, deferred);
        return at.groups.size() - 1;
    }
    /// Collects the keys that were deferred, now that they are loaded.
    template <class Objects>
    void collect_loaded(std::size_t group, Objects& objects, const vector_of<std::size_t>& loaded) {
        ask(group, objects, loaded, static_cast<vector_of<std::size_t>*>(nullptr));
    }

    /// Finds the rows of all groups.
    template <class RowSource>
    void resolve(RowSource& source) {
        m_rows.resolve(source);
        order();
    }
    /// The steps of `resolve`, for a caller that fetches the rows itself.
    template <class RowSource>
    [[nodiscard]] const vector_of<key_type>& missing(RowSource& source) {
        return m_rows.missing(source);
    }
    template <class RowSource>
    bool take(RowSource& source, handle_type row) {
        return m_rows.take(source, std::move(row));
    }
    template <class RowSource>
    void admit(RowSource& source) {
        m_rows.admit(source);
        order();
    }

    /// A pointer per object and relation, in the order of `collect`: nullptr if the object is skipped, a pointer to a
    /// null handle if there is no row. Valid while this lives.
    [[nodiscard]] std::span<const handle_type* const> rows() {
        static const handle_type none{};
        auto& at = m_rows.buffers();
        if (at.rows.size() != at.positions.size()) {
            at.rows.reserve(at.positions.size());
            for (const slot_id position : at.positions) {
                at.rows.append(position < detail::null_slot ? &m_rows.handle(position)
                               : position == no_slot        ? nullptr
                                                            : &none);
            }
        }
        return {at.rows.data(), at.rows.size()};
    }

    /// Attaches the rows to the group of objects with this number.
    template <class Objects>
    void attach(std::size_t number, Objects& objects) {
        const std::size_t width = objects.width();
        const auto of_these = rows().subspan(m_rows.buffers().groups[number].begin, objects.size() * width);
        for (std::size_t object = 0; object < objects.size(); ++object) {
            objects.attach(object, of_these.subspan(object * width, width));
        }
    }

    /// `count`: counters per relation, in the order of `collect`.
    void commit(std::span<counters> count) noexcept {
        const auto& requests = m_rows.buffers().requests;
        for (std::size_t relation = 0; relation < requests.size(); ++relation) {
            count[relation].requests += requests[relation];
        }
        m_rows.commit(count);
    }

    [[nodiscard]] std::size_t relations() noexcept { return m_rows.buffers().requests.size(); }
    void roll_back() noexcept { m_rows.roll_back(); }
    void unpin() noexcept { m_rows.unpin(); }
    std::size_t release() noexcept { return m_rows.release(); }

private:
    void order() { m_rows.order({m_rows.buffers().positions.data(), m_rows.buffers().positions.size()}); }

    /// Asks for the keys of some objects of a group.
    template <class Objects, class Numbers>
    void ask(std::size_t group, Objects& objects, const Numbers& which, vector_of<std::size_t>* deferred) {
        auto& at = m_rows.buffers();
        const std::size_t width = objects.width();
        const std::uint32_t relation = at.groups[group].relation;
        slot_id* const first = at.positions.data() + at.groups[group].begin;
        std::uint64_t* const requests = at.requests.data() + relation;
        constexpr std::size_t most = resolution_of_t<Memo>::most_asked;
        std::array<key_type, most> keys{};
        std::array<std::uint32_t, most> relations; // NOLINT(*-member-init): written before read, as the next
        std::array<slot_id*, most> positions;      // NOLINT(*-member-init)
        relations[0] = relation;
        std::size_t waiting = 0;
        const auto ask_for = [&](std::size_t count) {
            m_rows.ask({keys.data(), count}, {relations.data(), width == 1 ? 1 : count}, {positions.data(), count});
            requests[0] += width == 1 ? count : 0;
        };
        detail::read_keys<key_type, allocator_type>(
            objects, width, which, deferred,
            [&](std::size_t object, std::size_t number, key_reading<key_type>& reading) {
                slot_id& position = first[object * width + number];
                if (reading.state == key_state::present) {
                    keys[waiting] = std::move(reading.key);
                    if (width != 1) {
                        relations[waiting] = relation + static_cast<std::uint32_t>(number);
                        ++requests[number];
                    }
                    positions[waiting++] = &position;
                    if (waiting == most) {
                        ask_for(std::exchange(waiting, 0));
                    }
                } else if (reading.state == key_state::null) {
                    position = detail::null_slot;
                }
            });
        ask_for(waiting);
    }

    resolution_of_t<Memo> m_rows;
};

} // namespace memoized_prefetch
