// Boost.Beast's request parser with a sink of our own.
//
// Beast parses; this file adds what it leaves open:
// - the head is gathered first and parsed in one piece, so that how the bytes were split can never
//   change the verdict, and its size limit counts every byte of it;
// - exactly one Host on HTTP/1.1, one Content-Length of digits only, Transfer-Encoding exactly
//   `chunked` (Beast reads `chunked, identity` as "no body"), no obsolete line folding;
// - limits on fields, chunk headers and trailers.
//
// No exception leaves this file: only memory can run out, and that is a fault of its own.

// Beast asserts on what an outsider sends (`0\r\n` alone, then one more byte). The code is safe
// without the assertions; with them, two bytes would stop the process.
#define BOOST_DISABLE_ASSERTS

#include "CHTTPParser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <cstring>
#include <new>
#include <optional>
#include <string>

namespace http = boost::beast::http;
using boost::beast::string_view;
using Error = boost::beast::error_code;

namespace {

constexpr size_t chunk_extension_max = 1024;
/// Buffers that grew past this are given back after the request.
constexpr size_t kept_bytes = 16 << 10;

bool is_token(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
        || (c != 0 && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
}

/// The characters of a host and port; a comma or a space would hide a second one.
bool is_host(string_view value) {
    for (unsigned char c : value) {
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c != 0 && std::strchr("-._~%!$&'()*+;=:[]", c) != nullptr)))
            return false;
    }
    return true;
}

bool all_digits(string_view value) {
    if (value.empty() || value.size() > 19) return false;
    for (unsigned char c : value)
        if (c < '0' || c > '9') return false;
    return true;
}

/// A header value we keep.
struct Captured {
    std::string text;
    bool present = false;

    void set(string_view value) {
        text.assign(value.data(), value.size());
        present = true;
    }
    void clear() {
        text.clear();
        present = false;
    }
    pulse_http_text view() const {
        return present ? pulse_http_text{text.data(), text.size()} : pulse_http_text{nullptr, 0};
    }
};

/// What one request has told so far; reused, so that a warm connection does not allocate.
struct Request {
    Captured method, target, content_type, accept, idempotency_key;
    std::string body;
    int version = 11;
    size_t fields = 0, hosts = 0, content_lengths = 0, transfer_encodings = 0;
    bool in_trailers = false, expects_continue = false, expects_else = false;
    pulse_http_fault fault = PULSE_HTTP_FINE;
    const char *reason = nullptr;

    void clear() {
        method.clear(), target.clear(), content_type.clear(), accept.clear();
        idempotency_key.clear();
        body.clear();
        if (body.capacity() > kept_bytes) body.shrink_to_fit();
        version = 11;
        fields = hosts = content_lengths = transfer_encodings = 0;
        in_trailers = expects_continue = expects_else = false;
        fault = PULSE_HTTP_FINE;
        reason = nullptr;
    }
    void refuse(Error &ec, pulse_http_fault why, const char *sentence) {
        fault = why;
        reason = sentence;
        ec = http::error::bad_field;
    }
};

class Sink final : public http::basic_parser<true> {
    Request &request;

public:
    explicit Sink(Request &request) : request(request) {}

private:
    void on_request_impl(
        http::verb, string_view method, string_view target, int version, Error &) override {
        request.method.set(method);
        request.target.set(target);
        request.version = version;
    }

    void on_response_impl(int, string_view, int, Error &) override {}

    void on_field_impl(
        http::field field, string_view name, string_view value, Error &ec) override {
        if (++request.fields > fields_max)
            return request.refuse(ec, PULSE_HTTP_HEAD_TOO_LARGE, "too many header fields");
        if (is_folded(name, value))
            return request.refuse(ec, PULSE_HTTP_MALFORMED, "a folded header line");
        if (request.in_trailers) return;
        switch (field) {
        case http::field::host:
            if (++request.hosts > 1 || !is_host(value))
                request.refuse(ec, PULSE_HTTP_MALFORMED, "exactly one plain Host is required");
            return;
        case http::field::content_length:
            if (++request.content_lengths > 1 || !all_digits(value))
                request.refuse(ec, PULSE_HTTP_MALFORMED, "one Content-Length of digits is allowed");
            return;
        case http::field::transfer_encoding:
            if (++request.transfer_encodings > 1 || request.version < 11
                || !boost::beast::iequals(value, "chunked"))
                request.refuse(
                    ec, PULSE_HTTP_MALFORMED, "the only transfer coding served is chunked");
            return;
        case http::field::content_type:
            return once(request.content_type, value, ec, "Content-Type is given twice");
        case http::field::expect:
            if (boost::beast::iequals(value, "100-continue")) {
                request.expects_continue = true;
            } else {
                request.expects_else = true;
            }
            return;
        case http::field::accept:
            // A list may be spread over lines.
            if (request.accept.present) {
                request.accept.text.append(",").append(value.data(), value.size());
            } else {
                request.accept.set(value);
            }
            return;
        case http::field::unknown:
            if (boost::beast::iequals(name, "idempotency-key"))
                once(request.idempotency_key, value, ec, "Idempotency-Key is given twice");
            return;
        default:
            return;
        }
    }

    void once(Captured &slot, string_view value, Error &ec, const char *sentence) {
        if (slot.present) return request.refuse(ec, PULSE_HTTP_MALFORMED, sentence);
        slot.set(value);
    }

    /// Beast unfolds into a buffer of its own, or, when the first line is empty, skips it: either
    /// way the value is not on the line of its name.
    bool is_folded(string_view name, string_view value) const {
        const char *end = name.data() + name.size();
        if (value.data() < end || value.data() > input_end) return true;
        for (const char *p = end; p < value.data(); ++p)
            if (*p == '\r' || *p == '\n') return true;
        return false;
    }

    void on_header_impl(Error &ec) override {
        if (request.version >= 11 && request.hosts != 1)
            return request.refuse(ec, PULSE_HTTP_MALFORMED, "exactly one plain Host is required");
        if (request.content_lengths != 0 && request.transfer_encodings != 0)
            return request.refuse(
                ec, PULSE_HTTP_MALFORMED, "Content-Length and Transfer-Encoding together");
        // HTTP/1.0 does not know expectations and must not be answered about them.
        if (request.version >= 11 && request.expects_else)
            request.refuse(
                ec, PULSE_HTTP_UNMET_EXPECTATION, "the only expectation met is 100-continue");
    }

    void on_body_init_impl(boost::optional<std::uint64_t> const &, Error &) override {}

    std::size_t on_body_impl(string_view bytes, Error &) override {
        request.body.append(bytes.data(), bytes.size());
        return bytes.size();
    }

    void on_chunk_header_impl(std::uint64_t size, string_view extensions, Error &ec) override {
        if (extensions.size() > chunk_extension_max)
            return request.refuse(ec, PULSE_HTTP_MALFORMED, "a chunk extension is too long");
        if (size == 0) {
            request.in_trailers = true;
            request.fields = 0;
        }
    }

    std::size_t on_chunk_body_impl(std::uint64_t, string_view bytes, Error &) override {
        request.body.append(bytes.data(), bytes.size());
        return bytes.size();
    }

    void on_finish_impl(Error &) override {}

public:
    size_t fields_max = 100;
    /// The end of the bytes of the current `put`.
    const char *input_end = nullptr;
};

}  // namespace

struct pulse_http_parser {
    size_t head_max, fields_max, body_max;
    Request request;
    std::optional<Sink> sink;
    /// Bytes of an incomplete head, chunk header or trailer section.
    std::string kept;
    /// How much of `kept` is known to hold no end of head.
    size_t scanned = 0;
    size_t chunk_framing = 0;
    bool skipped_empty_line = false;
    pulse_http_message message{};

    void reset() {
        request.clear();
        sink.reset();
        kept.clear();
        if (kept.capacity() > kept_bytes) kept.shrink_to_fit();
        scanned = chunk_framing = 0;
        skipped_empty_line = false;
        message = {};
        message.version = 11;
        message.keep_alive = true;
    }

    void fail(pulse_http_fault fault, const char *reason) {
        message.state = PULSE_HTTP_FAILED;
        message.fault = fault;
        message.reason = reason;
        message.keep_alive = false;
    }

    void fail(Error ec) {
        if (request.fault != PULSE_HTTP_FINE) return fail(request.fault, request.reason);
        if (ec == http::error::header_limit)
            return fail(PULSE_HTTP_HEAD_TOO_LARGE, "the request's head is too large");
        if (ec == http::error::body_limit)
            return fail(PULSE_HTTP_BODY_TOO_LARGE, "the request's body is too large");
        if (ec == http::error::bad_method) return fail(PULSE_HTTP_MALFORMED, "a bad method");
        if (ec == http::error::bad_target) return fail(PULSE_HTTP_MALFORMED, "a bad target");
        if (ec == http::error::bad_version)
            return fail(PULSE_HTTP_MALFORMED, "the version is not HTTP/1.1 or HTTP/1.0");
        if (ec == http::error::bad_field)
            return fail(PULSE_HTTP_MALFORMED, "a bad header field name");
        if (ec == http::error::bad_value)
            return fail(PULSE_HTTP_MALFORMED, "a bad header field value");
        if (ec == http::error::bad_line_ending)
            return fail(PULSE_HTTP_MALFORMED, "a line does not end with CR LF");
        if (ec == http::error::bad_content_length || ec == http::error::multiple_content_length)
            return fail(PULSE_HTTP_MALFORMED, "a bad Content-Length");
        if (ec == http::error::bad_transfer_encoding)
            return fail(PULSE_HTTP_MALFORMED, "a bad Transfer-Encoding");
        if (ec == http::error::bad_chunk || ec == http::error::bad_chunk_extension)
            return fail(PULSE_HTTP_MALFORMED, "bad chunked coding");
        fail(PULSE_HTTP_MALFORMED, "the bytes are not an HTTP request");
    }

    void publish() {
        message.method = request.method.view();
        message.target = request.target.view();
        message.content_type = request.content_type.view();
        message.expects_continue = request.expects_continue && request.version >= 11;
        message.accept = request.accept.view();
        message.idempotency_key = request.idempotency_key.view();
        message.body = {request.body.data(), request.body.size()};
        message.version = request.version;
    }

    /// Looks for the empty line that ends a head in `bytes`, from `from` on. Answers the head's
    /// length, 0 when it is not there yet, or -1 after a failure. An LF without its CR fails here,
    /// at once, because no end would ever be found.
    ptrdiff_t head_length(const char *bytes, size_t count, size_t from) {
        while (from < count) {
            auto *found = static_cast<const char *>(std::memchr(bytes + from, '\n', count - from));
            if (found == nullptr) return 0;
            size_t at = static_cast<size_t>(found - bytes);
            if (at == 0 || bytes[at - 1] != '\r') {
                fail(PULSE_HTTP_MALFORMED, "a line does not end with CR LF");
                return -1;
            }
            if (at == 1 || bytes[at - 2] == '\n') return static_cast<ptrdiff_t>(at) + 1;
            from = at + 1;
        }
        return 0;
    }

    size_t put_head(const char *bytes, size_t count) {
        size_t before = kept.size();
        const char *head = bytes;
        size_t available = count;
        if (before != 0) {
            kept.append(bytes, std::min(count, head_max - before));
            head = kept.data();
            available = kept.size();
        }
        available = std::min(available, head_max);
        if (!is_token(static_cast<unsigned char>(head[0])) && head[0] != '\r') {
            fail(PULSE_HTTP_MALFORMED, "the bytes are not an HTTP request");
            return 0;
        }
        ptrdiff_t length = head_length(head, available, before == 0 ? 0 : scanned);
        if (length < 0) return 0;
        if (length == 0) {
            if (available == head_max) {
                fail(PULSE_HTTP_HEAD_TOO_LARGE, "the request's head is too large");
                return 0;
            }
            if (before == 0) kept.assign(bytes, count);
            scanned = available;
            return count;
        }
        if (length == 2) {
            // RFC 9112, 2.2: one empty line before a request is forgiven.
            if (skipped_empty_line) {
                fail(PULSE_HTTP_MALFORMED, "the bytes are not an HTTP request");
                return 0;
            }
            skipped_empty_line = true;
            kept.clear();
            scanned = 0;
            return 2 - before;
        }
        sink.emplace(request);
        sink->fields_max = fields_max;
        sink->header_limit(static_cast<std::uint32_t>(head_max));
        sink->body_limit(body_max);
        sink->input_end = head + length;
        Error ec;
        size_t used =
            sink->put(boost::asio::const_buffer(head, static_cast<size_t>(length)), ec);
        if (ec || used != static_cast<size_t>(length)) {
            fail(ec);
            return 0;
        }
        kept.clear();
        scanned = 0;
        message.keep_alive = request.version >= 11 && sink->keep_alive();
        message.state = sink->is_done() ? PULSE_HTTP_COMPLETE : PULSE_HTTP_IN_BODY;
        return static_cast<size_t>(length) - before;
    }

    size_t put_body(const char *bytes, size_t count) {
        size_t before = kept.size();
        if (before != 0) {
            kept.append(bytes, count);
            bytes = kept.data();
            count = kept.size();
        }
        size_t at = 0;
        while (at < count && !sink->is_done()) {
            sink->input_end = bytes + count;
            size_t body_before = request.body.size();
            Error ec;
            size_t used = sink->put(boost::asio::const_buffer(bytes + at, count - at), ec);
            if (ec && ec != http::error::need_more) {
                fail(ec);
                return 0;
            }
            if (request.transfer_encodings != 0 && request.body.size() == body_before) {
                // A chunk header or the end: it may be as long as a head, all of them as a body.
                size_t section = ec ? count - at : used;
                if (section > head_max || (ec && section == head_max)) {
                    fail(PULSE_HTTP_HEAD_TOO_LARGE, "a chunk header or trailer is too large");
                    return 0;
                }
                chunk_framing += used;
                if (chunk_framing > body_max + head_max) {
                    fail(PULSE_HTTP_BODY_TOO_LARGE, "the body has too many chunks");
                    return 0;
                }
            }
            at += used;
            if (ec) break;
        }
        if (sink->is_done()) {
            message.state = PULSE_HTTP_COMPLETE;
            kept.clear();
            return at - before;
        }
        if (before != 0) {
            kept.erase(0, at);
        } else {
            kept.assign(bytes + at, count - at);
        }
        return count - before;
    }

    size_t put(const char *bytes, size_t count) {
        size_t at = 0;
        while (at < count) {
            message.started = true;
            size_t used = 0;
            if (message.state == PULSE_HTTP_IN_HEAD) {
                used = put_head(bytes + at, count - at);
            } else if (message.state == PULSE_HTTP_IN_BODY) {
                used = put_body(bytes + at, count - at);
            } else {
                break;
            }
            at += used;
        }
        return at;
    }
};

extern "C" {

pulse_http_parser *pulse_http_create(size_t head_max, size_t fields_max, size_t body_max) {
    auto *parser = new (std::nothrow) pulse_http_parser;
    if (parser == nullptr) return nullptr;
    parser->head_max = head_max;
    parser->fields_max = fields_max;
    parser->body_max = body_max;
    parser->reset();
    return parser;
}

void pulse_http_destroy(pulse_http_parser *parser) { delete parser; }

const pulse_http_message *pulse_http_put(
    pulse_http_parser *parser, const void *bytes, size_t count, size_t *consumed) {
    *consumed = 0;
    try {
        *consumed = parser->put(static_cast<const char *>(bytes), count);
    } catch (...) {
        parser->fail(PULSE_HTTP_NO_MEMORY, "no memory for the request");
    }
    parser->publish();
    return &parser->message;
}

void pulse_http_next(pulse_http_parser *parser) { parser->reset(); }

}  // extern "C"
