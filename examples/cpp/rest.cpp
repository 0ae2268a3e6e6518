/// Without a database: orders are read from somewhere, and their customers come from a service that looks up many at
/// once.
///
///   GET /customers?id=3,17,21  ->  [{"id": 3, "name": "Ada"}, {"id": 21, "name": "Grace"}]
#include <memoized_prefetch/memoized_prefetch.hpp>

#include <cstdio>
#include <string>
#include <vector>

namespace mp = memoized_prefetch;

namespace {

struct Customer {
    int id = 0;
    std::string name = {};
};
struct Order {
    int number = 0;
    int customer_id = 0;
    std::shared_ptr<const Customer> customer = {};
};

/// Stands in for a client of the service. A real one would send the request and parse the answer.
class CustomerService {
public:
    /// Returns the customers that exist, in any order. Those not in the answer are remembered as missing.
    std::vector<Customer> get(std::span<const int> ids) {
        std::string request = "GET /customers?id=";
        std::vector<Customer> answer;
        for (const int id : ids) {
            request += request.back() == '=' ? "" : ",";
            request += std::to_string(id);
            if (id % 10 != 0) {
                answer.push_back({id, "customer " + std::to_string(id)});
            }
        }
        std::printf("%s\n", request.c_str());
        if (m_failures > 0) {
            --m_failures;
            throw std::runtime_error("503 Service Unavailable");
        }
        return answer;
    }
    void fail_once() { m_failures = 1; }

private:
    int m_failures = 0;
};

} // namespace

int main() {
    CustomerService service;
    mp::memo customers{&Customer::id, [&](std::span<const int> ids) { return service.get(ids); }, {.entries = 1'000}};
    mp::prefetcher<Order> relations{mp::to_one(customers, &Order::customer_id, &Order::customer)};

    std::vector<std::vector<Order>> chunks{{{1, 3}, {2, 17}, {3, 3}}, {{4, 17}, {5, 20}, {6, 21}}, {{7, 20}, {8, 3}}};
    service.fail_once();
    for (std::vector<Order>& chunk : chunks) {
        for (bool done = false; !done;) {
            try {
                relations.process_chunk(chunk);
                done = true;
            } catch (const std::runtime_error& error) {
                std::printf("%s; again\n", error.what()); // nothing has changed, so process the same chunk again
            }
        }
        for (const Order& order : chunk) {
            std::printf("  order %d: %s\n", order.number, order.customer ? order.customer->name.c_str() : "nobody");
        }
    }
    const mp::memo_stats stats = customers.stats();
    std::printf("%zu requests for %zu orders\n", static_cast<std::size_t>(stats.queries),
                static_cast<std::size_t>(stats.requests));
}
