// Boost.JSON's event parser writing a flat tape.
//
// A string without escapes stays where it is, in the caller's bytes; others are decoded into an
// arena. Decoding never lengthens text, so an arena as large as the input is never moved while it is
// filled. No exception leaves this file.

#include "CJSON.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/src.hpp>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <vector>

namespace json = boost::json;
using Error = json::error_code;

namespace {

/// Memory kept between documents; more is given back.
constexpr size_t kept_bytes = 16 << 10;
/// Objects up to this many keys are searched for repetitions pair by pair.
constexpr size_t pairwise_keys_max = 24;

struct Text {
    const char *bytes = nullptr;
    size_t count = 0;
};

struct Tape {
    static constexpr std::size_t max_array_size = -1;
    static constexpr std::size_t max_object_size = -1;
    static constexpr std::size_t max_string_size = -1;
    static constexpr std::size_t max_key_size = -1;

    size_t tokens_max;
    std::vector<pulse_json_token> tokens;
    std::vector<uint32_t> open;
    std::vector<std::string_view> keys;
    std::unique_ptr<char[]> arena;
    size_t arena_size = 0, arena_used = 0;
    const char *input = nullptr;
    size_t input_size = 0;
    Text key;
    /// Where a string that comes in parts began; -1 when none is open.
    ptrdiff_t part = -1;
    pulse_json_fault fault = PULSE_JSON_FINE;
    const char *fault_at = nullptr;

    explicit Tape(size_t tokens_max) : tokens_max(tokens_max) {}

    void clear() {
        tokens.clear();
        open.clear();
        keys.clear();
        if (tokens.capacity() * sizeof(pulse_json_token) > kept_bytes) tokens.shrink_to_fit();
        if (keys.capacity() * sizeof(std::string_view) > kept_bytes) keys.shrink_to_fit();
        if (arena_size > kept_bytes) {
            arena.reset();
            arena_size = 0;
        }
        arena_used = 0;
    }

    void begin(const char *bytes, size_t count) {
        clear();
        input = bytes;
        input_size = count;
        key = {};
        part = -1;
        fault = PULSE_JSON_FINE;
        fault_at = nullptr;
    }

    bool refuse(Error &ec, pulse_json_fault why, const char *at = nullptr) {
        fault = why;
        fault_at = at;
        ec = json::error::exception;
        return false;
    }

    /// Copies into the arena; null when memory is short.
    const char *keep(json::string_view text) {
        if (arena_size < input_size) {
            // Nothing points into a smaller arena: it is grown before its first use in a document.
            arena.reset(new char[input_size]);
            arena_size = input_size;
        }
        char *to = arena.get() + arena_used;
        std::copy(text.begin(), text.end(), to);
        arena_used += text.size();
        return to;
    }

    bool add_part(json::string_view text, Error &ec) {
        if (arena_used + text.size() > input_size) return refuse(ec, PULSE_JSON_NO_MEMORY);
        const char *at = keep(text);
        if (part < 0) part = at - arena.get();
        return true;
    }

    /// The whole text of a key, string or number whose last bytes are `text`.
    bool finish(json::string_view text, Text &whole, Error &ec) {
        if (part < 0 && text.data() >= input && text.data() + text.size() <= input + input_size) {
            whole = {text.data(), text.size()};
            return true;
        }
        if (!add_part(text, ec)) return false;
        whole = {arena.get() + part, arena_used - static_cast<size_t>(part)};
        part = -1;
        return true;
    }

    bool add(pulse_json_kind kind, Text value, Error &ec) {
        if (tokens.size() >= tokens_max) return refuse(ec, PULSE_JSON_TOO_MANY);
        tokens.push_back({
            key.bytes, value.bytes, static_cast<uint32_t>(key.count),
            static_cast<uint32_t>(value.count), static_cast<uint32_t>(tokens.size() + 1), kind});
        key = {};
        return true;
    }

    bool begin_container(pulse_json_kind kind, Error &ec) {
        open.push_back(static_cast<uint32_t>(tokens.size()));
        return add(kind, {}, ec);
    }

    uint32_t end_container() {
        uint32_t index = open.back();
        open.pop_back();
        tokens[index].end = static_cast<uint32_t>(tokens.size());
        return index;
    }

    bool has_no_key_twice(uint32_t object, size_t count, Error &ec) {
        keys.clear();
        for (uint32_t i = object + 1; i < tokens[object].end; i = tokens[i].end)
            keys.emplace_back(tokens[i].key, tokens[i].key_count);
        if (count <= pairwise_keys_max) {
            for (size_t i = 1; i < keys.size(); ++i)
                for (size_t j = 0; j < i; ++j)
                    if (keys[i] == keys[j])
                        return refuse(ec, PULSE_JSON_DUPLICATE, keys[i].data());
            return true;
        }
        std::sort(keys.begin(), keys.end());
        auto twice = std::adjacent_find(keys.begin(), keys.end());
        return twice == keys.end()
            || refuse(ec, PULSE_JSON_DUPLICATE, std::max(twice[0].data(), twice[1].data()));
    }

    bool add_number(json::string_view text, Error &ec) {
        Text whole;
        return finish(text, whole, ec) && add(PULSE_JSON_NUMBER, whole, ec);
    }

    bool on_document_begin(Error &) { return true; }
    bool on_document_end(Error &) { return true; }
    bool on_array_begin(Error &ec) { return begin_container(PULSE_JSON_ARRAY, ec); }
    bool on_array_end(std::size_t, Error &) {
        end_container();
        return true;
    }
    bool on_object_begin(Error &ec) { return begin_container(PULSE_JSON_OBJECT, ec); }
    bool on_object_end(std::size_t count, Error &ec) {
        return has_no_key_twice(end_container(), count, ec);
    }
    bool on_string_part(json::string_view s, std::size_t, Error &ec) { return add_part(s, ec); }
    bool on_string(json::string_view s, std::size_t, Error &ec) {
        Text whole;
        return finish(s, whole, ec) && add(PULSE_JSON_STRING, whole, ec);
    }
    bool on_key_part(json::string_view s, std::size_t, Error &ec) { return add_part(s, ec); }
    bool on_key(json::string_view s, std::size_t, Error &ec) { return finish(s, key, ec); }
    bool on_number_part(json::string_view s, Error &ec) { return add_part(s, ec); }
    bool on_int64(int64_t, json::string_view s, Error &ec) { return add_number(s, ec); }
    bool on_uint64(uint64_t, json::string_view s, Error &ec) { return add_number(s, ec); }
    bool on_double(double, json::string_view s, Error &ec) { return add_number(s, ec); }
    bool on_bool(bool b, Error &ec) {
        return add(b ? PULSE_JSON_TRUE : PULSE_JSON_FALSE, {}, ec);
    }
    bool on_null(Error &ec) { return add(PULSE_JSON_NULL, {}, ec); }
    bool on_comment_part(json::string_view, Error &) { return true; }
    bool on_comment(json::string_view, Error &) { return true; }
};

pulse_json_fault fault_of(Error ec) {
    if (ec == json::error::incomplete) return PULSE_JSON_INCOMPLETE;
    if (ec == json::error::extra_data) return PULSE_JSON_EXTRA;
    if (ec == json::error::too_deep) return PULSE_JSON_TOO_DEEP;
    if (ec == json::error::exponent_overflow) return PULSE_JSON_NUMBER_RANGE;
    if (ec == json::error::illegal_leading_surrogate
        || ec == json::error::illegal_trailing_surrogate
        || ec == json::error::expected_hex_digit || ec == json::error::expected_utf16_escape)
        return PULSE_JSON_BAD_ESCAPE;
    return PULSE_JSON_SYNTAX;
}

json::parse_options options(size_t depth_max) {
    json::parse_options options;
    options.max_depth = depth_max;
    return options;
}

}  // namespace

struct pulse_json_parser {
    json::basic_parser<Tape> parser;

    pulse_json_parser(size_t depth_max, size_t tokens_max)
        : parser(options(depth_max), tokens_max) {}
};

extern "C" {

pulse_json_parser *pulse_json_create(size_t depth_max, size_t tokens_max) {
    try {
        return new pulse_json_parser(depth_max, tokens_max);
    } catch (...) {
        return nullptr;
    }
}

void pulse_json_destroy(pulse_json_parser *parser) { delete parser; }

void pulse_json_clear(pulse_json_parser *handle) {
    try {
        handle->parser.handler().clear();
    } catch (...) {
        // shrink_to_fit may ask for memory; keeping what there is does no harm.
    }
}

pulse_json_tape pulse_json_parse(pulse_json_parser *handle, const void *bytes, size_t count) {
    auto *text = static_cast<const char *>(bytes);
    auto &parser = handle->parser;
    auto &tape = parser.handler();
    try {
        if (count == 0) return {nullptr, 0, PULSE_JSON_INCOMPLETE, 0};
        parser.reset();
        tape.begin(text, count);
        Error ec;
        size_t used = parser.write_some(false, text, count, ec);
        if (ec) {
            if (tape.fault == PULSE_JSON_FINE) return {nullptr, 0, fault_of(ec), used};
            const char *at = tape.fault_at;
            bool inside = at != nullptr && at >= text && at <= text + count;
            return {nullptr, 0, tape.fault, inside ? static_cast<size_t>(at - text) : used};
        }
        if (used < count) return {nullptr, 0, PULSE_JSON_EXTRA, used};
        return {tape.tokens.data(), tape.tokens.size(), PULSE_JSON_FINE, 0};
    } catch (...) {
        return {nullptr, 0, PULSE_JSON_NO_MEMORY, 0};
    }
}

}  // extern "C"
