/// row_source_traits: what key_resolution requires of a row source, and what a row source may add.
///
/// A *row source* reads rows for key_resolution (`Handle` and `Key` are the memo's):
///   fetch(const std::vector<Key>& asked, take)    calls take(Handle) per row, in any order. Rows may be missing, or
///                                                 not asked for. `take` returns whether it keeps the row.
///   key_of(const Handle&) -> Key                  the value by which the row is found
/// Optional:
///   prefetch(const Handle&, const Key&, int step) starts to load what `valid` will read. Called with step 0, and with
///                                                 step 1 when the loads of step 0 should be done.
///   valid(const Handle&, const Key&) -> bool      whether a remembered row still has that key
///   exchanges_rows = true                         the memo's handle may be exchanged while this pass uses it. The pass
///                                                 then holds its own handles, at the cost of reference counting.
///   knows_all() -> bool                           whether keys outside the memo have no row and are not fetched
///   weight(const Handle&) -> std::size_t          the weight of a row to be remembered; null handle: of an absence
#pragma once

namespace memoized_prefetch::detail {

template <class RowSource, class Handle, class Key>
struct row_source_traits {
    static constexpr bool prefetches = requires(RowSource & source, const Handle& row, const Key& key) {
        source.prefetch(row, key, 0);
    };
    static constexpr bool validates = requires(RowSource & source, const Handle& row, const Key& key) {
        source.valid(row, key);
    };
    static constexpr bool exchanges_rows = requires { requires RowSource::exchanges_rows; };
    static constexpr bool may_know_all = requires(RowSource & source) { source.knows_all(); };
    static constexpr bool weighs = requires(RowSource & source, const Handle& row) { source.weight(row); };
};

} // namespace memoized_prefetch::detail
